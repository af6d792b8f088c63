"""What a benchmark gives: tables on the terminal and one JSON file, without a machine's name."""

import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Generic, TypeVar

import torch
from rich.console import Console
from rich.table import Table

Result = TypeVar("Result")
Row = Mapping[str, object]


@dataclass(frozen=True)
class Timed(Generic[Result]):
    """The median of some runs, and what every one of them returned."""

    seconds: float
    results: list[Result]


def alternate(
    runs: Mapping[str, Callable[[int], Result]], repeats: int, threads: int
) -> dict[str, Timed[Result]]:
    """Each run, given the number of the repeat, in turn with all the others.

    One thread is timed by its own processor time, which neighbors on the machine disturb little.
    """
    clock = time.process_time if threads == 1 else time.perf_counter
    taken: dict[str, list[tuple[float, Result]]] = {name: [] for name in runs}
    for repeat in range(repeats):
        for name, run in runs.items():
            start = clock()
            result = run(repeat)
            taken[name].append((clock() - start, result))
    return {name: Timed(median(s for s, _ in t), [r for _, r in t]) for name, t in taken.items()}


def show(title: str, rows: Sequence[Row]) -> None:
    table = Table(title=title)
    for name, value in rows[0].items():
        side = "left" if isinstance(value, str) else "right"
        table.add_column(name.replace("_", " "), justify=side)
    for row in rows:
        table.add_row(*(_text(value) for value in row.values()))
    Console().print(table)


def save(path: Path, threads: int, **parts: object) -> None:
    about = {"python": platform.python_version(), "torch": torch.__version__, "threads": threads}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(about | parts, indent=1) + "\n", encoding="utf-8")


def _text(value: object) -> str:
    return "-" if value is None else f"{value:,.4g}" if isinstance(value, float) else str(value)
