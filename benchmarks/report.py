"""What a benchmark gives: tables on the terminal and one JSON file without traces of the machine."""

import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.table import Table

Row = Mapping[str, object]


def alternating_seconds(
    runs: Mapping[str, Callable[[int], object]], repeats: int, threads: int
) -> dict[str, float]:
    """The median time of each run, all of them in turn, given the number of the repeat.

    One thread is timed by its own processor time, which neighbors on the machine disturb little.
    """
    clock = time.process_time if threads == 1 else time.perf_counter
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats):
        for name, run in runs.items():
            start = clock()
            run(repeat)
            taken[name].append(clock() - start)
    return {name: median(seconds) for name, seconds in taken.items()}


def show(title: str, rows: Sequence[Row]) -> None:
    table = Table(title=title)
    for name, value in rows[0].items():
        table.add_column(name.replace("_", " "), justify="left" if isinstance(value, str) else "right")
    for row in rows:
        table.add_row(*(_text(value) for value in row.values()))
    Console().print(table)


def save(path: Path, threads: int, **parts: object) -> None:
    about = {"python": platform.python_version(), "torch": torch.__version__, "threads": threads}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(about | parts, indent=1) + "\n", encoding="utf-8")


def _text(value: object) -> str:
    return "-" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
