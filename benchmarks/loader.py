"""How long a step waits for its batch.

python benchmarks/loader.py [--documents N] [--steps N] [--out FILE.json] [--threads N]

The embedded model, whose step is the shortest there is, trains on packed rows of a corpus of many
documents; the time in which the loop waits for its next batch is set against the time of its
steps. Beside it: the rate at which batches are made when nothing else is done.
"""

import argparse
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from report import save, show

from eyas.adapters import PiSSA, attach
from eyas.data import Batch, BatchConfig, Corpus, Cursor
from eyas.data.ahead import made_ahead
from eyas.data.batches import batches
from eyas.data.places import numbered
from eyas.demo.play import BASE
from eyas.models import load
from eyas.training.engine import EngineConfig, spread
from eyas.training.loop import Around, LoopConfig, Progress, train
from eyas.training.optim import OptimConfig, Optimizer
from eyas.training.ranks import Ranks

Source = Iterator[tuple[Batch, Cursor]]


def corpus_of(documents: int) -> Corpus:
    """Log-normal lengths around 150 tokens, as chats have them."""
    chance = np.random.Generator(np.random.PCG64(0))
    lengths = chance.lognormal(5, 1, documents).astype(int).clip(2, 20000)
    tokens = chance.integers(1, 257, lengths.sum()).astype(np.uint16)
    flags = np.resize(np.repeat(chance.random(documents) < 0.5, 40), len(tokens))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Corpus(tokens, flags, offsets, numbered("document", np.arange(documents)))


class Waiting:
    """The same items; how long each was waited for."""

    def __init__(self, source: Source) -> None:
        self.source, self.seconds = source, []

    def __iter__(self) -> Source:
        while True:
            started = time.perf_counter()
            item = next(self.source)
            self.seconds.append(time.perf_counter() - started)
            yield item


def waited(corpus: Corpus, config: BatchConfig, steps: int) -> dict[str, float]:
    model = load(BASE)
    attach(model, PiSSA(rank=8))
    source = Waiting(made_ahead(batches(corpus, config, 0)))
    loop = LoopConfig(steps=steps, save_every=steps + 1, validate_every=steps + 1)
    optimizer = Optimizer(model, OptimConfig(lr=1e-4))
    engine, around = spread(model, EngineConfig(), Ranks()), Around(lambda _: Path())
    started = time.perf_counter()
    list(train(engine, optimizer, source, loop, Progress(), around))
    taken = time.perf_counter() - started
    return {"step": taken / steps, "waited": sum(source.seconds[1:]) / taken}


def alone(corpus: Corpus, config: BatchConfig, count: int) -> float:
    """Tokens a second when batches are all that is made."""
    source = batches(corpus, config, 0)
    next(source)
    started = time.perf_counter()
    tokens = sum(batch.pairs for batch, _ in islice(source, count))
    return tokens / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    corpus, rows = corpus_of(given.documents), []
    for dataload, micro_batch in (("pack", 1), ("pack", 8), ("pad", 8)):
        config = BatchConfig(512, micro_batch, dataload=dataload)  # type: ignore[arg-type]
        found = waited(corpus, config, given.steps)
        rate = alone(corpus, config, 200)
        rows.append(
            {
                "dataload": dataload,
                "rows": micro_batch,
                "step seconds": found["step"],
                "waited, share": found["waited"],
                "made alone, tokens/s": rate,
            }
        )
    show("A step waiting for its batch", rows)
    out = given.out or Path(__file__).parent / "results" / "loader.json"
    save(out, given.threads, documents=given.documents, rows=rows)


if __name__ == "__main__":
    main()
