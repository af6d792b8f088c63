"""`metrics.jsonl`: a line for every event of a run, for plots, dashboards and other programs.

A line has the event's name, the time, the event's own fields, and for a step its rates.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from eyas.errors import UserError
from eyas.files import write_bytes
from eyas.observe.flops import Utilization
from eyas.observe.lines import appending, as_bytes
from eyas.observe.scalars import rates
from eyas.training.events import Event, Step

Sink = Callable[[Event], None]
METRICS = "metrics.jsonl"


@contextmanager
def open_metrics(
    path: Path, resume_step: int = 0, utilization: Utilization | None = None
) -> Iterator[Sink]:
    """A sink that appends each event to `path`, where other programs see it at once.

    A run that goes on from `resume_step` first drops, atomically, what an earlier one had
    written beyond that step, and that it was finished, so that each step and the end stand there
    once; 0 begins the file anew.
    """
    written = read_metrics(path) if resume_step > 0 else []
    past = (line for line in written if line["step"] <= resume_step)
    kept = [_text(line) for line in past if line["event"] != "finished"]
    write_bytes(path, as_bytes("".join(kept)))
    with appending(path) as append:
        yield lambda event: append(_text(_line(event, utilization)))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl`, each with `event`, `time` [unix seconds] and `step`.

    Nothing where there is no file. A last line that was cut off, as by a power cut, is left out;
    any other that is not JSON is a UserError with its number.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    return [_parse(line, f"{path}:{number}") for number, line in enumerate(lines, 1)]


def held_out_losses(path: Path, last_step: int) -> dict[int, float]:
    """The held-out loss of each step up to `last_step` that has one; infinity where it was none."""
    lines = read_metrics(path) if last_step > 0 else []
    losses = {line["step"]: line["loss"] for line in lines if line["event"] == "validated"}
    return {
        step: math.inf if loss is None else loss
        for step, loss in losses.items()
        if step <= last_step
    }


def _parse(line: str, place: str) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except ValueError:
        values = None
    known = isinstance(values, dict) and "event" in values and type(values.get("step")) is int
    if not known:
        raise UserError(f"{place}: not a line of metrics; remove that line")
    return cast(dict[str, Any], values)


def _line(event: Event, utilization: Utilization | None) -> dict[str, Any]:
    values = {field.name: _plain(getattr(event, field.name)) for field in fields(event)}
    if isinstance(event, Step):
        values |= {name: float(f"{rate:.6g}") for name, rate in rates(event, utilization).items()}
    name = type(event).__name__.lower()
    return {"event": name, "time": round(time.time(), 3), **values}


def _text(line: dict[str, Any]) -> str:
    return json.dumps(line, ensure_ascii=False) + "\n"


def _plain(value: object) -> object:
    """JSON has no NaN and no infinity: they are null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
