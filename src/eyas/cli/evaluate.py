"""`eyas eval`: how good a model is on data, and a run beside its base."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console
from rich.table import Table

from eyas.cli.options import add_options
from eyas.config import fields_of, from_mapping
from eyas.data import ReadConfig, Tokenizer, is_tokens, tokenizer_for, tokenizer_of_tokens
from eyas.errors import UserError
from eyas.evaluation import Bounds, Measured, Work, difference, open_work
from eyas.files import write_bytes
from eyas.models import Model, load
from eyas.run import open_model, run_at, steps_done

_PATH = click.Path(path_type=Path)
_LABELS = {
    "loss": "loss, nats a token",
    "perplexity": "perplexity",
    "bits_per_byte": "bits a byte",
    "loss_all": "loss over all tokens",
    "perplexity_all": "perplexity over all tokens",
    "bits_per_byte_all": "bits a byte over everything",
    "exact_match": "exact match",
    "accuracy": "accuracy",
    "accuracy_per_byte": "accuracy per byte",
}


@click.command("eval", short_help="Score a model on data, and a run beside its base.")
@click.argument("model", metavar="MODEL|RUN", type=_PATH)
@click.argument("data", type=_PATH)
@click.option("--base", type=_PATH, help="base model of RUN [default: the one trained over]")
@click.option("--tokenizer", help="world, bytes, world-bytes, or a vocabulary file")
@click.option("--limit", type=click.IntRange(1), help="score the first records only")
@click.option("--answers/--no-answers", default=True, help="exact match of answers [default: on]")
@click.option("--stop", multiple=True, help="text that ends an answer; may be repeated")
@click.option("--json", "out", type=_PATH, metavar="FILE", help="write the numbers to FILE too")
@add_options(Bounds, ReadConfig)
def command(
    model: Path,
    data: Path,
    base: Path | None,
    tokenizer: str | None,
    limit: int | None,
    answers: bool,
    stop: tuple[str, ...],
    out: Path | None,
    typed: dict[str, Any],
) -> None:
    """Score MODEL, or RUN (its newest checkpoint) beside its base, on DATA.

    \b
    DATA as for training: loss, perplexity and bits per byte of what is trained of it, and of
    everything; of conversations, the exact match of the last answer, decoded greedily.
    Records with choices: how often the right one is the likeliest.
        {"question": "...", "choices": ["...", "..."], "answer": 0}
        {"text": "...", "choices": ["...", "..."], "answer": "..."}

    Each number comes with its standard error over the documents, and a difference with that of the
    pairs.
    """
    if "" in stop:
        raise UserError("--stop: a text that ends an answer is empty; leave it out")
    if out and not out.parent.is_dir():  # told before the work, not behind it
        raise UserError(f"{out}: the folder {out.parent} does not exist; create it first")
    if model.is_dir() and "template" not in typed:
        typed = {**typed, "template": run_at(model).reading.template}
    bounds, reading = (_config(cls, typed) for cls in (Bounds, ReadConfig))
    loaded, base_path, chosen = open_model(model, base)
    tokens = _tokenizer(loaded, base_path, tokenizer or chosen, data, reading)
    work = open_work(data, tokens, loaded.vocab_size, reading, bounds, limit, answers, stop)
    found = {"tuned" if model.is_dir() else "model": work.measures(_placed(loaded))}
    del loaded
    if model.is_dir():
        found = {"base": work.measures(_placed(load(base_path))), **found}
    _show(work, found)
    progress = steps_done(model)
    if progress and progress[0] < progress[1]:
        click.echo(f"Of an unfinished run: step {progress[0]:,} of {progress[1]:,}.")
    if out:
        told = {"model": str(model), "data": str(data), **_told(work, found)}
        write_bytes(out, json.dumps(told, indent=2, allow_nan=False).encode())


def _config(cls: type[Any], typed: Mapping[str, object]) -> Any:
    names = {field.name for field in fields_of(cls)}
    given = {name: value for name, value in typed.items() if name in names}
    return from_mapping(cls, given, "the command line")


def _tokenizer(
    model: Model, path: Path, named: str | None, data: Path, reading: ReadConfig
) -> Tokenizer:
    known = tokenizer_of_tokens if is_tokens(data, reading) else tokenizer_for
    return known(model.vocab_size, path, named)


def _placed(model: Model) -> Model:
    """The model on the GPU, where there is one."""
    return model.to("cuda") if torch.cuda.is_available() else model


def _show(work: Work, found: Mapping[str, Mapping[str, Measured]]) -> None:
    table = Table("", *found, *(["difference"] if "base" in found else []), box=None)
    for name, label in _LABELS.items():
        columns = [measures[name] for measures in found.values() if name in measures]
        if not columns:
            continue
        if len(columns) == 2:
            columns.append(difference(*columns))
        share = name.startswith(("exact", "accuracy"))
        table.add_row(label, *(_shown(one, share, i == 2) for i, one in enumerate(columns)))
    s = "" if work.documents == 1 else "s"
    records = f"{work.documents:,} {f'record{s} with choices' if work.choices else f'document{s}'}"
    asked = f", {len(work.questions):,} with an answer to give" if work.questions else ""
    console = Console(width=None if Console().is_terminal else 120, highlight=False)
    console.print(table)
    console.print(f"\nOver {records}{asked}; ± is the standard error.")


def _shown(measured: Measured, share: bool, sign: bool) -> str:
    plus = "+" if sign else ""
    error = measured.standard_error
    if share:
        shown = f"{100 * measured.value:{plus}.1f} %"
        return shown if math.isnan(error) else f"{shown} ± {100 * error:.1f}"
    shown = f"{measured.value:{plus}.4f}"
    return shown if math.isnan(error) else f"{shown} ± {error:.4f}"


def _told(work: Work, found: Mapping[str, Mapping[str, Measured]]) -> dict[str, Any]:
    names = list(next(iter(found.values())))
    measures: dict[str, Any] = {
        name: {who: _plain(each[name]) for who, each in found.items()} for name in names
    }
    if "base" in found:
        for name in names:
            paired = difference(found["base"][name], found["tuned"][name])
            measures[name]["difference"] = _plain(paired)
    return {"documents": work.documents, "questions": len(work.questions), "measures": measures}


def _plain(measured: Measured) -> dict[str, float | None]:
    error = measured.standard_error
    return {"value": measured.value, "standard_error": None if math.isnan(error) else error}
