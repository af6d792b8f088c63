"""`eyas generate`: the continuation of a prompt, streamed."""

import sys
from pathlib import Path
from typing import Any

import click
import torch

from eyas.cli.options import add_options
from eyas.config import from_mapping
from eyas.data import tokenizer_for
from eyas.generation.sampling import Sampling
from eyas.generation.stream import generate as stream
from eyas.run import open_model


@click.command(short_help="Continue a prompt with a model or a run.")
@click.argument("model", metavar="MODEL|RUN", type=click.Path(path_type=Path))
@click.option("--prompt", help="text to continue; - reads standard input")
@click.option("--chat", "question", help="a question; the prompt becomes User: …, Assistant:")
@click.option("--max-tokens", default=200, show_default=True, type=click.IntRange(1))
@click.option("--stop", multiple=True, help="text that ends the answer; may be repeated")
@click.option("--seed", default=0, show_default=True)
@click.option("--tokenizer", help="world, bytes, world-bytes, or a vocabulary file")
@add_options(Sampling)
def generate(
    model: Path,
    prompt: str | None,
    question: str | None,
    max_tokens: int,
    stop: tuple[str, ...],
    seed: int,
    tokenizer: str | None,
    typed: dict[str, Any],
) -> None:
    """Continue --prompt with MODEL (.pth, .safetensors) or RUN (its newest checkpoint)."""
    if (prompt is None) == (question is None):
        raise click.UsageError("give one of --prompt and --chat")
    if question is not None:
        prompt, stop = f"User: {question}\n\nAssistant:", (*stop, "\n\n")
    text = sys.stdin.read() if prompt == "-" else str(prompt)
    sampling = from_mapping(Sampling, typed, "the command line")
    loaded, base, chosen = open_model(model)
    tokens = tokenizer_for(loaded.vocab_size, base, tokenizer or chosen)
    with torch.inference_mode():
        for piece in stream(loaded, tokens, text, sampling, max_tokens, stop, seed):
            click.echo(piece, nl=False)
            sys.stdout.flush()
    click.echo()
