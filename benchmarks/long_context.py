"""Rows of any length: memory and time of a token, in chunks and whole.

    python benchmarks/long_context.py [--short] [--resume] [--threads 1] [--out FILE.json]

A random RWKV-7 (L6 C256 V256), PiSSA r 32, fp32, each row of the table in a process of its own,
whose highest memory counts. `in chunks` (--chunk 2048, the exact gradient): memory but for the
states should stay within a fifth of the shortest row's, time of a token within a tenth. `whole`:
the time of a token alone is flat; memory grows with the row. With one thread time is the
process's own.

--short: up to 32k tokens. --resume: rows that the file has already are kept (a million tokens
take ten minutes).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from report import Row, save, show

from eyas.models import Shape, create
from eyas.run import prepare, train
from eyas.settings import run_from_mapping
from eyas.training.engine import state_bytes
from eyas.training.events import Step
from eyas.training.long import kept_bytes
from eyas.training.machine import peak_bytes

SHAPE = Shape("x070", 6, 256, 4, 1024, 256, {"w": 64, "a": 64, "v": 32, "g": 128})
CHUNK = 2048
CHUNKED = [2**12, 2**15, 2**18, 2**20]
WHOLE = [2**9, 2**11, 2**13, 2**14]
LEAST = 2**16  # tokens behind each time, so that it is more than that of a step or two


def measured(folder: Path, ctx: int, chunk: int | None) -> Row:
    """Trains in this process; the first step of several is a warm-up."""
    steps = 1 if ctx >= LEAST else LEAST // ctx + 1
    loop = {"steps": steps, "save_every": steps, "validate_every": steps}
    values = {
        "model": str(folder / "model.pth"),
        "data": str(folder / "data.txt"),
        "out": str(folder / f"{ctx}-{chunk}"),
        "batch": {"ctx": ctx},
        "loop": loop | ({"chunk": chunk} if chunk else {}),
        "watch": {"mfu": False, "report": False},
    }
    prepared = prepare(run_from_mapping(values, "benchmark"))
    before = peak_bytes(torch.device("cpu"))
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    times, tokens, peak = [clock()], [], 0
    for event in train(prepared):
        if isinstance(event, Step):
            times.append(clock())
            tokens.append(event.tokens)
            peak = event.peak_bytes
    warm = 1 if steps > 1 else 0
    states = kept_bytes(-(-ctx // chunk), state_bytes(prepared.model)) if chunk else 0
    seconds = times[-1] - times[warm]
    return {
        "ctx": ctx,
        "steps": steps - warm,
        "before MiB": before / 2**20,
        "peak MiB": peak / 2**20,
        "states MiB": states / 2**20,
        "peak but states MiB": (peak - states) / 2**20,
        "tokens/s": sum(tokens[warm:]) / seconds,
        "us a token": 1e6 * seconds / sum(tokens[warm:]),
    }


def in_processes(
    known: list[Row], lengths: list[int], chunk: int | None, threads: int
) -> Iterator[Row]:
    """The rows of a table, those that are known already as they are."""
    there = {row["ctx"]: row for row in known}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = create(SHAPE, 0).state_dict()
        torch.save(weights, folder / "model.pth")
        (folder / "data.txt").write_text("the quick brown fox jumps over it. " * (2**21 // 35))
        for ctx in lengths:
            if ctx in there:
                yield there[ctx]
                continue
            done = subprocess.run(
                [sys.executable, __file__, "--one", name, str(ctx), str(chunk or 0)],
                env={**os.environ, "OMP_NUM_THREADS": str(threads)},
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            yield json.loads(done.stdout.splitlines()[-1])


def beside_first(rows: list[Row]) -> list[Row]:
    """With what each row takes over what the first one does."""
    first = rows[0]
    ratios = {"memory": "peak but states MiB", "time of a token": "us a token"}
    return [
        {**row, **{f"{name}, ratio": row[of] / first[of] for name, of in ratios.items()}}  # type: ignore[operator]
        for row in rows
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    default = Path(__file__).parent / "results" / "long_context.json"
    parser.add_argument("--out", type=Path, default=default)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        folder, ctx, chunk = given.one
        print(json.dumps(measured(Path(folder), int(ctx), int(chunk) or None)))
        return
    resumes = given.resume and given.out.exists()
    tables = json.loads(given.out.read_text())["tables"] if resumes else {}
    for name, lengths, chunk in (("in chunks", CHUNKED, CHUNK), ("whole", WHOLE, None)):
        chosen = [ctx for ctx in lengths if not given.short or ctx <= 2**15]
        rows: list[Row] = []
        for row in in_processes(tables.get(name, []), chosen, chunk, given.threads):
            rows.append(row)
            tables[name] = beside_first(rows)
            save(given.out, given.threads, chunk=CHUNK, shape=str(SHAPE), tables=tables)
        show(f"Rows {name}", tables[name])


if __name__ == "__main__":
    main()
