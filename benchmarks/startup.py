"""How long a user waits before anything happens.

python benchmarks/startup.py [--repeats N] [--out FILE.json]

Whole processes by the clock, each in turn with the others; medians. `eyas --help` should take at
most 0.3 s, and the first step of `eyas demo` come at most 3 s after what importing PyTorch takes.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from report import Row, alternate, save, show

from eyas.demo.play import play
from eyas.demo.tasks import load_task
from eyas.training.events import Step

EYAS = [sys.executable, "-m", "eyas"]
PROGRAMS = {
    "python, import torch": [sys.executable, "-c", "import torch"],
    "eyas --help": [*EYAS, "--help"],
    "eyas train --help": [*EYAS, "train", "--help"],
    "eyas demo, to its first step": [sys.executable, __file__, "--to-first-step"],
}
LIMITS = {"eyas --help": 0.3, "eyas demo, to its first step": 3.0}


class Reached(Exception):  # noqa: N818
    """The first step."""


def to_first_step() -> None:
    def eat(event: object) -> None:
        if isinstance(event, Step):
            raise Reached

    with tempfile.TemporaryDirectory() as folder:
        try:
            play(load_task("json"), "pissa", Path(folder) / "run", 80, 4, eat)
        except Reached:
            return


def measured(repeats: int) -> list[Row]:
    def run(command: list[str]) -> object:
        return subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    runs = {name: lambda _, command=command: run(command) for name, command in PROGRAMS.items()}
    alternate(runs, 1, threads=0)  # files into memory
    taken = alternate(runs, repeats, threads=0)
    torch_alone = taken["python, import torch"].seconds
    return [
        {
            "program": name,
            "seconds": timed.seconds,
            "beyond PyTorch's import": timed.seconds - torch_alone,
            "limit": LIMITS.get(name),
        }
        for name, timed in taken.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    default = Path(__file__).parent / "results" / "startup.json"
    parser.add_argument("--out", type=Path, default=default)
    parser.add_argument("--to-first-step", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.to_first_step:
        to_first_step()
        return
    rows = measured(given.repeats)
    show("Start-up", rows)
    save(given.out, torch.get_num_threads(), repeats=given.repeats, rows=rows)


if __name__ == "__main__":
    main()
