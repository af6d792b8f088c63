"""Tokens a second on the CPU, one sequence, beside the `rwkv` package and llama.cpp.

python benchmarks/generation.py [--tokens N] [--prompt N] [--repeats N] [--threads N] [--out FILE]

A random model of RWKV-7's 0.1B shape, the same weights for all, which are bfloat16's; those of 16
and 32 bits come from files of that type. Each program stays in a process of its own and all take
turns; the ratios are medians of those within a turn. With one thread a run is
timed by its own processor time, which neighbors on the machine disturb little. The bandwidth is
that of a sum over 256 MiB, measured in every turn; `of bandwidth` is the share of it that reading
every weight but the embedding once a token takes. llama.cpp is left out where `llama_cpp` cannot be
imported (llama-cpp-python; LLAMA_CPP_LIB_PATH may name the folder of its library).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

import torch
from report import Row, save, show

from eyas.data import tokenizer_for
from eyas.exporting import gguf
from eyas.exporting.weights import read_weights
from eyas.generation.compiled import compiled
from eyas.models import Shape, create, load
from eyas.quant import FrozenConfig, quantize_frozen

SHAPE = Shape("x070", 12, 768, 12, 3072, 65536, {"w": 64, "a": 64, "v": 32, "g": 128})
FILES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
EYAS = {
    **dict.fromkeys(FILES, FrozenConfig()),
    "int8": FrozenConfig(quant="int8", quant_head=True),
    "nf4": FrozenConfig(quant="nf4", quant_head=True),
}
RWKV = ("fp32", "bf16")
LLAMA = {"f32": "fp32", "f16": "fp16", "q8_0": "int8", "q4_0": "nf4"}  # and eyas's of its size
SUMMED = 1 << 25  # numbers of 8 bytes

Run = Callable[[int], None]


class Worker:
    """A program in a process of its own."""

    def __init__(self, name: str, folder: Path, threads: int) -> None:
        switches = {"RWKV_V7_ON": "1", "RWKV_JIT_ON": "0", "OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, __file__, "--worker", name, str(folder)]
        self._process = subprocess.Popen(
            [*command, "--threads", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | switches,
        )
        self.bytes: int = self._answer()

    def seconds(self, work: str, count: int) -> float:
        assert self._process.stdin
        print(work, count, file=self._process.stdin, flush=True)
        return float(self._answer())

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def _answer(self) -> Any:
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())


def eyas_runs(kept: str, folder: Path, threads: int) -> tuple[Run, Run, int]:
    torch.set_num_threads(threads)
    model = load(folder / f"{kept if kept in FILES else 'bf16'}.pth")
    quantize_frozen(model, EYAS[kept])
    forward = compiled(model)
    state = forward(torch.tensor([[1]]))[1]

    def tokens(count: int) -> None:
        nonlocal state
        for i in range(count):
            state = forward(torch.tensor([[i % 1000]]), state)[1]

    def prompt(count: int) -> None:
        forward.head(forward.hidden(torch.arange(count)[None])[0][:, -1:])

    weights = dict(model.named_parameters())
    return tokens, prompt, sum(w.nbytes for name, w in weights.items() if name[:3] != "emb")


def rwkv_runs(kept: str, folder: Path, threads: int) -> tuple[Run, Run, int]:
    torch.set_num_threads(threads)
    from rwkv.model import RWKV

    model = RWKV(model=str(folder / kept), strategy=f"cpu {kept}")
    state = model.forward([1], None)[1]

    def tokens(count: int) -> None:
        nonlocal state
        for i in range(count):
            state = model.forward([i % 1000], state)[1]

    def prompt(count: int) -> None:
        model.forward(list(range(count)), None)

    numbers = sum(prod(w.shape) for w in read_weights(folder / f"{kept}.pth"))
    each = 4 if kept == "fp32" else 2
    return tokens, prompt, each * (numbers - SHAPE.vocab_size * SHAPE.width)


def llama_runs(kept: str, folder: Path, threads: int) -> tuple[Run, Run, int]:
    from gguf import GGUFReader
    from llama_cpp import Llama

    path = str(folder / f"{kept}.gguf")
    limits = {"n_ctx": 4096, "n_batch": 512, "n_threads": threads, "n_threads_batch": threads}
    model = Llama(path, verbose=False, **limits)
    model.eval([1])

    def tokens(count: int) -> None:
        for i in range(count):
            if model.n_tokens > 2000:
                model.reset()
            model.eval([i % 1000])

    def prompt(count: int) -> None:
        model.reset()
        model.eval(list(range(count)))

    weights = GGUFReader(path).tensors
    return tokens, prompt, sum(int(w.n_bytes) for w in weights if w.name != "token_embd.weight")


def work(name: str, folder: Path, threads: int) -> None:
    """Answers requests on standard input with seconds."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the programs themselves print
    clock = time.process_time if threads == 1 else time.perf_counter
    program, kept = name.split()
    made = {"eyas": eyas_runs, "rwkv": rwkv_runs, "llama.cpp": llama_runs}[program]
    with torch.inference_mode():
        tokens, prompt, size = made(kept, folder, threads)
        tokens(3)
        print(size, file=answers, flush=True)
        for line in sys.stdin:
            what, count = line.split()
            start = clock()
            {"tokens": tokens, "prompt": prompt}[what](int(count))
            print(clock() - start, file=answers, flush=True)


def write_models(folder: Path, with_llama: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = create(SHAPE, 0).state_dict()
    noisy = {k: w + 0.02 * torch.randn(w.shape, generator=generator) for k, w in weights.items()}
    path = folder / "bf16.pth"
    for name, dtype in FILES.items():
        kept = {key: tensor.bfloat16().to(dtype) for key, tensor in noisy.items()}
        torch.save(kept, folder / f"{name}.pth")
    for theirs in LLAMA if with_llama else ():
        tokenizer = tokenizer_for(SHAPE.vocab_size, path, "world")
        gguf.write(read_weights(path), folder / f"{theirs}.gguf", tokenizer, theirs)


def bandwidth(numbers: torch.Tensor, threads: int) -> float:
    """Bytes a second."""
    clock = time.process_time if threads == 1 else time.perf_counter
    start = clock()
    numbers.sum()
    return numbers.nbytes / (clock() - start)


def turns(workers: dict[str, Worker], given: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of a token, of a prompt's token (`NAME prompt`), and bytes a second, turn by turn."""
    numbers = torch.ones(SUMMED, dtype=torch.int64)
    found: dict[str, list[float]] = {"bandwidth": []}
    for _ in range(given.repeats):
        found["bandwidth"].append(max(bandwidth(numbers, given.threads) for _ in range(3)))
        for what, suffix, count in (
            ("tokens", "", given.tokens),
            ("prompt", " prompt", given.prompt),
        ):
            for name, worker in workers.items():
                each = worker.seconds(what, count) / count
                found.setdefault(name + suffix, []).append(each)
    return found


def row(name: str, size: int, found: dict[str, list[float]]) -> Row:
    seconds = found[name]
    read = [size / s / b for s, b in zip(seconds, found["bandwidth"], strict=True)]
    made: dict[str, object] = {
        "program": name,
        "MB_a_token": round(size / 1e6),
        "ms_a_token": round(1000 * median(seconds), 2),
        "tokens_a_second": round(1 / median(seconds), 1),
        "of_bandwidth": round(median(read), 2),
        "prompt_tokens_a_second": round(1 / median(found[f"{name} prompt"])),
    }
    return made


def ratios(found: dict[str, list[float]]) -> list[Row]:
    """How many times the other program's tokens a second."""
    pairs = [(f"eyas {kept}", f"rwkv {kept}") for kept in RWKV]
    pairs += [(f"eyas {kept}", "rwkv fp32") for kept in ("bf16", "int8", "nf4")]
    pairs += [(f"eyas {kept}", f"llama.cpp {theirs}") for theirs, kept in LLAMA.items()]
    rows = []
    for ours, theirs in pairs:
        if theirs in found:
            made: dict[str, object] = {"program": ours, "over": theirs}
            for name, suffix in (("tokens", ""), ("prompt", " prompt")):
                both = zip(found[theirs + suffix], found[ours + suffix], strict=True)
                made[name] = round(median(b / a for b, a in both), 2)
            rows.append(made)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--worker", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--tokens", type=int, default=20, help="of a turn")
    parser.add_argument("--prompt", type=int, default=256, help="tokens of a turn's prompt")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/generation.json"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.worker:
        work(given.worker[0], Path(given.worker[1]), given.threads)
        return
    with_llama = find_spec("llama_cpp") is not None
    names = [f"eyas {kept}" for kept in EYAS] + [f"rwkv {kept}" for kept in RWKV]
    names += [f"llama.cpp {kept}" for kept in LLAMA] if with_llama else []
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        write_models(Path(name), with_llama)
        workers = {n: stack.enter_context(Worker(n, Path(name), given.threads)) for n in names}
        found = turns(workers, given)
    rows = [row(name, workers[name].bytes, found) for name in names]
    read = median(found["bandwidth"]) / 1e9
    show(f"RWKV-7 0.1B, {given.threads} thread(s), {read:.1f} GB/s", rows)
    over = ratios(found)
    show("Times the other's tokens a second", over)
    about = {"repeats": given.repeats, "gigabytes_a_second": round(read, 1)}
    save(given.out, given.threads, **about, rows=rows, ratios=over)


if __name__ == "__main__":
    main()
