"""The World tokenizer beside pyrwkv-tokenizer and the `rwkv` package's: speed, loading, linearity.

    python benchmarks/tokenizer.py [--megabytes 8] [--repeats 5] [--out FILE]

The text is made here: half of it tokens of the vocabulary drawn by chance, in all its languages,
half the repository's own pages and data, in paragraphs by turns. Seconds are of the processor, on
one thread. All tokenizers must give the same ids.
"""

import argparse
import random
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import TypeAlias

import numpy as np
import rwkv.rwkv_tokenizer
from pyrwkv_tokenizer import RWKVTokenizer
from report import Row, Timed, alternate, save, show
from rwkv.rwkv_tokenizer import TRIE_TOKENIZER

from eyas import native
from eyas.data.longest import LongestMatch
from eyas.data.world import World, standard_table

ROOT = Path(__file__).parent.parent
PAGES = ("*.md", "recipes/**/*.md", "src/eyas/demo/*.jsonl", "src/eyas/**/*.py")
SIZES = (1, 4, 16)
VOCABULARY = Path(rwkv.rwkv_tokenizer.__file__).with_name("rwkv_vocab_v20230424.txt")

Encode: TypeAlias = Callable[[], object]


def own_table() -> dict[int, bytes]:
    return standard_table.__wrapped__()  # read anew each time


LOADS: dict[str, Callable[[], object]] = {
    "eyas": lambda: native.Trie(own_table()),
    "eyas, plain Python": lambda: LongestMatch(own_table()),
    "pyrwkv-tokenizer": RWKVTokenizer,
    "rwkv package": lambda: TRIE_TOKENIZER(str(VOCABULARY)),
}


def paragraphs() -> Iterator[str]:
    """Without end."""
    chance = random.Random(0)
    pieces = [piece.decode(errors="replace") for piece in standard_table().values()]
    pieces = [piece for piece in pieces if "\ufffd" not in piece]
    pages = [page for kind in PAGES for page in ROOT.glob(kind)]
    own = [part for page in sorted(pages) for part in page.read_text("utf-8").split("\n\n")]
    chance.shuffle(own)
    for part in cycle(own):
        yield part
        drawn = ""
        while len(drawn) < len(part):
            drawn += chance.choice(pieces)
        yield drawn


def make_text(megabytes: int) -> str:
    found, size, parts = [], 0, paragraphs()
    while size < 1_000_000 * megabytes:
        found.append(next(parts) + "\n\n")
        size += len(found[-1].encode())
    return "".join(found)


def speeds(text: str, repeats: int) -> list[Row]:
    data = text.encode()
    world, slow = World(), LongestMatch(standard_table())
    rust, trie = RWKVTokenizer(), TRIE_TOKENIZER(str(VOCABULARY))
    runs: dict[str, Callable[[int], object]] = {
        "eyas, encode_bytes": lambda _: world.encode_bytes(data),
        "eyas, encode (text to list)": lambda _: world.encode(text),
        "pyrwkv-tokenizer": lambda _: rust.encode(text),
        "rwkv package": lambda _: trie.encode(text),
        "eyas, plain Python": lambda _: slow.encode(data),
    }
    taken = alternate(runs, repeats, threads=1)
    ids = [np.array(timed.results[0]) for timed in taken.values()]
    assert all(np.array_equal(ids[0], other) for other in ids), "the ids differ"
    load = alternate({name: lambda _, f=f: f() for name, f in LOADS.items()}, 3, threads=1)
    return [row(name, timed, len(data), taken, load) for name, timed in taken.items()]


def row(
    name: str,
    timed: Timed[object],
    size: int,
    taken: dict[str, Timed[object]],
    load: dict[str, Timed[object]],
) -> Row:
    loaded = load.get(name) or load["eyas"]
    return {
        "tokenizer": name,
        "seconds": round(timed.seconds, 4),
        "MB_per_second": round(size / 1e6 / timed.seconds, 1),
        "times_pyrwkv": round(taken["pyrwkv-tokenizer"].seconds / timed.seconds, 2),
        "times_rwkv": round(taken["rwkv package"].seconds / timed.seconds, 2),
        "seconds_to_load": round(loaded.seconds, 3),
    }


def linearity(repeats: int) -> list[Row]:
    """Seconds a megabyte at several sizes of the same kind of text."""
    whole, world = make_text(max(SIZES)).encode(), World()
    datas = {f"{size} MB": whole[: size * 1_000_000] for size in SIZES}
    runs = {name: partial(lambda data, _: world.encode_bytes(data), d) for name, d in datas.items()}
    taken = alternate(runs, repeats, threads=1)
    per_byte = {name: timed.seconds / len(datas[name]) for name, timed in taken.items()}
    first = next(iter(per_byte.values()))
    return [
        {"size": name, "MB_per_second": round(1e-6 / each, 1), "of_first": round(each / first, 2)}
        for name, each in per_byte.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/tokenizer.json"))
    given = parser.parse_args()
    if native.missing():
        parser.error(native.missing())
    table = speeds(make_text(given.megabytes), given.repeats)
    show(f"World tokenizers, {given.megabytes} MB of mixed text, one thread", table)
    sizes = linearity(given.repeats)
    show("eyas, encode_bytes", sizes)
    save(given.out, 1, repeats=given.repeats, tokenizers=table, sizes=sizes)


if __name__ == "__main__":
    main()
