"""`eyas prepare` beside a loop over the lines with `pyrwkv_tokenizer`: speed and memory.

python benchmarks/prepare.py [MEGABYTES] [--processes 1 2] [--repeats N] [--out FILE.json]

Whole processes, their start included; memory is the sum over a process and those it started, pages
that they share counted in each.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
from report import Row, alternate, save, show

RESULTS = Path(__file__).parent / "results" / "prepare.json"
LATIN = ("the", "of", "and", "to", "in", "is", "that", "for", "it", "as", "was", "with", "by")
HAN = "春眠不觉晓处处闻啼鸟夜来风雨声花落知多少床前明月光疑是地上霜举头望低头思故乡"
SAMPLE_SECONDS = 0.05


def generate(path: Path, size: int) -> None:
    """Records of 300 to 10,000 characters, a third of them Chinese, up to `size` bytes."""
    chance, written = random.Random(0), 0
    with path.open("w", encoding="utf-8") as file:
        while written < size:
            count = int(min(300 + chance.expovariate(1 / 1500), 10_000))
            latin = chance.random() < 2 / 3
            words = chance.choices(LATIN, k=count // 4) if latin else chance.choices(HAN, k=count)
            text = (" " if latin else "").join(words) + "\n"
            line = json.dumps({"text": text}, ensure_ascii=False) + "\n"
            file.write(line)
            written += len(line.encode())


def plain_loop(source: Path, target: Path) -> None:
    from pyrwkv_tokenizer import RWKVTokenizer

    tokenizer = RWKVTokenizer()
    with source.open(encoding="utf-8") as lines, target.open("wb") as file:
        for line in lines:
            file.write(np.array([*tokenizer.encode(json.loads(line)["text"]), 0], "<u2").tobytes())


def peak_of(command: Sequence[str | Path]) -> float:
    """Runs it; the most memory it ever took, in MiB."""
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        top = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                family = [top, *top.children(recursive=True)]
                peak = max(peak, sum(each.memory_info().rss for each in family))
            except psutil.NoSuchProcess:
                pass  # it ended between two looks
            time.sleep(SAMPLE_SECONDS)
    if process.returncode:
        raise SystemExit(f"{command[0]} ended with {process.returncode}")
    return peak / 2**20


def compare(folder: Path, size: int, processes: Sequence[int], repeats: int) -> list[Row]:
    source, loop, pair = folder / "data.jsonl", folder / "loop.bin", folder / "pair"
    generate(source, size)
    commands: dict[str, list[str | Path]] = {
        "loop with pyrwkv_tokenizer": [sys.executable, __file__, "--loop", source, loop]
    }
    for count in processes:
        commands[f"eyas prepare --processes {count}"] = [
            *(sys.executable, "-m", "eyas", "prepare", source, pair, "--overwrite"),
            *("--processes", str(count)),
        ]
    runs = {name: lambda _, command=command: peak_of(command) for name, command in commands.items()}
    timed = alternate(runs, repeats, threads=0)
    assert loop.read_bytes() == pair.with_name("pair.bin").read_bytes()
    megabytes = source.stat().st_size / 1e6
    base = next(iter(timed.values())).seconds
    return [
        {
            "program": name,
            "seconds": run.seconds,
            "MB/s": megabytes / run.seconds,
            "times the loop": base / run.seconds,
            "peak MiB": max(run.results),
        }
        for name, run in timed.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("megabytes", nargs="?", type=int, default=64)
    parser.add_argument(
        "--processes", type=lambda text: [*map(int, text.split(","))], default=[1, 2]
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--loop", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.loop:
        plain_loop(*options.loop)
        return
    folder = Path(tempfile.mkdtemp(prefix="eyas-prepare-"))
    try:
        rows = compare(folder, options.megabytes * 10**6, options.processes, options.repeats)
    finally:
        shutil.rmtree(folder)
    show(f"{options.megabytes} MB of jsonl", rows)
    save(options.out, max(options.processes), megabytes=options.megabytes, rows=rows)


if __name__ == "__main__":
    main()
