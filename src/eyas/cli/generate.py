"""`eyas generate`: the continuation of a prompt, streamed."""

import sys
from pathlib import Path
from typing import Any, get_args

import click
import torch

from eyas.chat.conversation import asked
from eyas.chat.ending import as_shown, until_end
from eyas.chat.wording import Thinking, cue, prompt_of, stops_of
from eyas.cli.chat import trained_template
from eyas.cli.options import add_options
from eyas.config import from_mapping
from eyas.data import tokenizer_for
from eyas.data.template import Template
from eyas.errors import UserError
from eyas.generation.sampling import Sampling
from eyas.generation.stream import generate as stream
from eyas.models import Model
from eyas.quant import FrozenConfig, QuantizedLinear, cast_frozen, quantize_frozen
from eyas.run import open_model

_STORED = {
    "file": FrozenConfig(),
    "fp32": FrozenConfig(storage="fp32"),
    "bf16": FrozenConfig(storage="bf16"),
    "fp16": FrozenConfig(storage="fp16"),
    "int8": FrozenConfig(quant="int8", quant_head=True),
    "nf4": FrozenConfig(quant="nf4", quant_head=True),
    "fp4": FrozenConfig(quant="fp4", quant_head=True),
}


@click.command(short_help="Continue a prompt with a model or a run.")
@click.argument("model", metavar="MODEL|RUN", type=click.Path(path_type=Path))
@click.option("--prompt", help="text to continue; - reads standard input")
@click.option(
    "--prompt-file", type=click.Path(path_type=Path), help="file of the text to continue, UTF-8"
)
@click.option("--chat", "question", help="a question; the prompt becomes User: …, Assistant:")
@click.option(
    "--think",
    default="auto",
    show_default=True,
    type=click.Choice(get_args(Thinking)),
    help="with --chat: thinking of G1 models; short, long: it is told how much",
)
@click.option("--max-tokens", default=200, show_default=True, type=click.IntRange(1))
@click.option(
    "--stop", multiple=True, help="text that ends the answer (not its thinking); may be repeated"
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**64 - 1))
@click.option("--tokenizer", help="world, bytes, world-bytes, or a vocabulary file")
@click.option(
    "--base",
    type=click.Path(path_type=Path),
    help="base model of RUN [default: the one trained over]",
)
@click.option(
    "--storage",
    default="file",
    show_default=True,
    type=click.Choice([*_STORED]),
    help="type of the weights in memory; int8, nf4, fp4: quantized, and the head int8",
)
@add_options(Sampling)
def generate(
    model: Path,
    prompt: str | None,
    prompt_file: Path | None,
    question: str | None,
    think: Thinking,
    max_tokens: int,
    stop: tuple[str, ...],
    seed: int,
    tokenizer: str | None,
    base: Path | None,
    storage: str,
    typed: dict[str, Any],
) -> None:
    """Continue --prompt with MODEL (.pth, .safetensors, a name) or RUN (its newest checkpoint).

    An empty prompt begins a new document. One line end at the end of a file or of standard
    input is no part of the prompt.
    """
    if sum(given is not None for given in (prompt, prompt_file, question)) != 1:
        raise click.UsageError("give one of --prompt, --prompt-file and --chat")
    if question is None and think != "auto":
        raise click.UsageError("--think goes with --chat")
    if "" in stop:
        raise UserError("--stop: a text that ends the answer is empty; leave it out")
    if question is not None:
        template = trained_template(model)
        text = _asked(question, think, template)
    elif prompt_file is not None:
        text = _decoded(_content(prompt_file), str(prompt_file))
    elif prompt == "-":
        text = _decoded(sys.stdin.buffer.read(), "standard input")
    else:
        text = str(prompt)
    sampling = from_mapping(Sampling, typed, "the command line")
    loaded, base, chosen = open_model(model, base)
    _store(loaded, storage)
    tokens = tokenizer_for(loaded.vocab_size, base, tokenizer or chosen)
    with torch.inference_mode():
        answer = stream(loaded, tokens, text, sampling, max_tokens, (), seed)
        if question is None:
            pieces = until_end(answer, stop, text)
        else:
            ends = (*stops_of(template), *stop)
            pieces = as_shown(until_end(answer, ends, cue(think)), cue(think))
        for piece in pieces:
            click.echo(piece, nl=False)
            sys.stdout.flush()
    click.echo()


def _store(model: Model, storage: str) -> None:
    """Raises UserError where the model is quantized already."""
    if storage == "file":
        return
    if any(isinstance(module, QuantizedLinear) for module in model.modules()):
        raise UserError(f"--storage {storage}: the run's base is quantized; leave --storage out")
    model.requires_grad_(False)
    cast_frozen(model, _STORED[storage])
    quantize_frozen(model, _STORED[storage])


def _asked(question: str, think: Thinking, template: Template) -> str:
    if not question.strip():
        raise UserError("--chat: the question is empty; write one, or take --prompt")
    return prompt_of(template, [asked(question, think)], think)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error


def _decoded(content: bytes, place: str) -> str:
    """The text of a file, with \\n as line ends and without the last of them."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{place}: is not UTF-8 at byte {error.start}; convert it, for example with "
            "iconv -f GB18030 -t UTF-8"
        ) from error
    return text.replace("\r\n", "\n").removesuffix("\n")
