"""Tokens a second of `eyas serve` by the number of clients.

python benchmarks/serve.py [--tokens N] [--prompt N] [--repeats N] [--threads N] [--out FILE.json]

A random model of RWKV-7's 0.1B shape. First the engine alone, in this process with one thread, by
its own processor time, which neighbors on the machine disturb little. Then server and clients, by
the clock: every client streams one answer after another, greedily; numbers of clients take turns,
and the median of the repeats counts. `first token` is the median of the time until an answer
begins, `between` of that between two of its tokens. `over one` is the throughput beside that of one
client in the same run.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

import openai
import torch
from report import alternate, save, show

from eyas.generation.sampling import GREEDY
from eyas.models import Shape, create
from eyas.quant import FrozenConfig
from eyas.serving.jobs import Job, Ticket
from eyas.serving.metrics import Metrics
from eyas.serving.prefixes import Prefixes
from eyas.serving.scheduler import Scheduler
from eyas.serving.served import Sources, open_served
from eyas.serving.transcript import Form

SHAPE = Shape("x070", 12, 768, 12, 3072, 65536, {"w": 64, "a": 64, "v": 32, "g": 128})
CLIENTS = (1, 2, 4, 8, 16)
STORAGES = ("fp32", "bf16")
ROUNDS = 2  # answers of each client in a repeat
WORDS = (
    "the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "in", "an", "old", "barn",
)  # fmt: skip


@dataclass(frozen=True)
class Answered:
    """When the chunks of an answer came, from its request."""

    seconds: tuple[float, ...]
    tokens: int


def model_in(folder: Path) -> Path:
    """A random model whose head is not zero: at zero it would only write token 0, the end."""
    path = folder / "model.pth"
    model = create(SHAPE, 0)
    torch.nn.init.normal_(model.head.weight, std=0.02, generator=torch.Generator().manual_seed(0))
    torch.save({name: tensor.bfloat16() for name, tensor in model.state_dict().items()}, path)
    return path


@contextmanager
def serving(model: Path, storage: str, threads: int) -> Iterator[str]:
    """The address of a server of its own."""
    options = ["--port", "0", "--storage", storage, "--prefix-mib", "0", "--max-rows", "16"]
    process = subprocess.Popen(
        [sys.executable, "-m", "eyas", "serve", str(model), *options, "--threads", str(threads)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        yield process.stdout.readline().split(" at ")[1].split(";")[0]
    finally:
        process.terminate()
        process.wait()


def answer(client: openai.OpenAI, number: int, prompt: int, tokens: int) -> Answered:
    words = [WORDS[(i * (number + 1)) % len(WORDS)] for i in range(prompt)]
    begun = time.perf_counter()
    stream = client.completions.create(
        model="model",
        prompt=" ".join(words),
        max_tokens=tokens,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    seconds, generated = [], 0
    for chunk in stream:
        seconds.append(time.perf_counter() - begun)
        generated = chunk.usage.completion_tokens if chunk.usage else generated
    return Answered(tuple(seconds), generated)


def load(client: openai.OpenAI, clients: int, prompt: int, tokens: int, repeat: int) -> Iterator:
    def one(index: int) -> list[Answered]:
        numbers = range(ROUNDS * index, ROUNDS * (index + 1))
        return [answer(client, 1000 * repeat + number, prompt, tokens) for number in numbers]

    with ThreadPoolExecutor(clients) as pool:
        return [found for many in pool.map(one, range(clients)) for found in many]


def computed(storage: str, model: Path, given: argparse.Namespace) -> Iterator[dict[str, object]]:
    """The engine without HTTP."""
    torch.set_num_threads(1)
    served = open_served(Sources(model, frozen=FrozenConfig(storage)))["model"]

    @torch.inference_mode()
    def run(rows: int, repeat: int) -> int:
        plan = Scheduler(128, Prefixes(0), Metrics())
        for row in range(rows):
            words = " ".join(
                WORDS[(i * (row + repeat + 1)) % len(WORDS)] for i in range(given.prompt)
            )
            tokens = tuple(served.tokenizer.encode(words))
            job = Job(served, tokens, GREEDY, given.tokens, (0,), Form(), None)
            plan.add(Ticket(job, lambda _: None))
        while plan.places():
            plan.step()
        return rows * given.tokens

    runs = {str(rows): partial(run, rows) for rows in CLIENTS}
    timed = alternate(runs, given.repeats, threads=1)
    rates = {rows: timed[str(rows)].results[0] / timed[str(rows)].seconds for rows in CLIENTS}
    for rows, rate in rates.items():
        yield {
            "weights": storage,
            "rows": rows,
            "tokens a processor second": rate,
            "over one": rate / rates[1],
        }


def measured(storage: str, model: Path, given: argparse.Namespace) -> Iterator[dict[str, object]]:
    with serving(model, storage, given.threads) as url:
        client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
        load(client, 2, given.prompt, 4, -1)  # warm
        runs = {n: partial(load, client, n, given.prompt, given.tokens) for n in CLIENTS}
        # Server and clients are other processes: their time is the clock's.
        timed = alternate({str(n): run for n, run in runs.items()}, given.repeats, threads=0)
    alone = 0.0
    for clients in CLIENTS:
        found = timed[str(clients)]
        answers = [one for result in found.results for one in result]
        rate = sum(one.tokens for one in answers) / given.repeats / found.seconds
        alone = alone or rate
        gaps = [b - a for one in answers for a, b in pairwise(one.seconds[:-2])]
        yield {
            "weights": storage,
            "clients": clients,
            "tokens a second": rate,
            "over one": rate / alone,
            "first token, s": median(one.seconds[0] for one in answers),
            "between, ms": median(gaps) * 1e3,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--prompt", type=int, default=32, help="words")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=max(1, torch.get_num_threads() - 1))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/serve.json"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = model_in(Path(folder))
        engine = [row for storage in STORAGES for row in computed(storage, model, given)]
        rows = [row for storage in STORAGES for row in measured(storage, model, given)]
    what = f"RWKV-7 0.1B, {given.prompt} words in, {given.tokens} tokens out"
    show(f"Engine, {what}, one thread", engine)
    show(f"Server, {what}", rows)
    sizes = {"prompt": given.prompt, "tokens": given.tokens}
    save(given.out, given.threads, **sizes, engine=engine, server=rows)


if __name__ == "__main__":
    main()
