"""Documents as tokens: alone and in several processes, in memory and on the disk."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import rwkv.rwkv_tokenizer
from rwkv.rwkv_tokenizer import TRIE_TOKENIZER

from eyas.data.places import GrowingPlaces, chosen_places, numbered
from eyas.data.preparing import token_batches
from eyas.data.reading import Document
from eyas.data.spans import Span
from eyas.data.spooling import repeated, spooled
from eyas.data.token_batch import TokenBatch, one_by_one
from eyas.data.tokenizer import Bytes, Tokenizer, WorldBytes
from eyas.data.workers import available_cores, in_order
from eyas.data.world import World
from eyas.errors import UserError

SHIPPED = Path(rwkv.rwkv_tokenizer.__file__).with_name("rwkv_vocab_v20230424.txt")
TEXTS = [
    "The quick brown fox.\n\n",
    "春眠不觉晓，处处闻啼鸟。\n",
    " ",
    "User: a\n\nAssistant: naïve 😀",
    "\u3000 \0 x\n\n\n",
    "end",
]
Marked = tuple[str, np.ndarray, np.ndarray]
PID = "__import__('os').getpid()"


@pytest.fixture(scope="module")
def peer() -> TRIE_TOKENIZER:
    return TRIE_TOKENIZER(str(SHIPPED))


def plain(texts: Sequence[str]) -> list[Document]:
    return [Document((Span(text, True),), f"d.jsonl:{i}") for i, text in enumerate(texts, start=1)]


def chats() -> list[Document]:
    """Two spans each; by bytes the first of 5 + i is read, the second of 3 trained."""
    return [
        Document((Span("read" + "!" * i, False), Span("abc", True)), f"c:{i}") for i in range(1, 9)
    ]


@pytest.mark.parametrize("processes", [1, 2])
def test_tokens_are_those_of_the_rwkv_package(peer: TRIE_TOKENIZER, processes: int) -> None:
    batches = list(token_batches(plain(TEXTS), World(), processes, alone_seconds=0.0))
    tokens = np.concatenate([batch.tokens for batch in batches])
    assert tokens.dtype == np.uint16
    assert tokens.tolist() == [token for text in TEXTS for token in [*peer.encode(text), 0]]
    sizes = [size for batch in batches for size in batch.sizes.tolist()]
    assert sizes == [len(peer.encode(text)) + 1 for text in TEXTS]
    assert [place for batch in batches for place in batch.places] == [
        f"d.jsonl:{line}" for line in range(1, len(TEXTS) + 1)
    ]
    assert sum(batch.source_bytes for batch in batches) == len("".join(TEXTS).encode())
    assert all(batch.trained is None for batch in batches)


def tokenized(documents: Iterable[Document], tokenizer: Tokenizer) -> list[Marked]:
    """Place, tokens and whether each is trained of every document, in this process."""
    found = []
    for batch in token_batches(documents, tokenizer, 1):
        ends = np.cumsum(batch.sizes).tolist()
        for place, begin, end in zip(batch.places, [0, *ends], ends, strict=False):
            flags = np.ones(len(batch.tokens), bool) if batch.trained is None else batch.trained
            found.append((place, batch.tokens[begin:end], flags[begin:end]))
    return found


def test_many_batches_keep_their_order() -> None:
    texts = [f"{i} " * (i % 7000) + "." for i in range(2000)]  # ten million characters
    here = tokenized(plain(texts), WorldBytes())
    batches = list(token_batches(plain(texts), WorldBytes(), 2, alone_seconds=0.0))
    assert len(batches) > 5
    assert np.array_equal(
        np.concatenate([tokens for _, tokens, _ in here]),
        np.concatenate([batch.tokens for batch in batches]),
    )
    assert [place for place, _, _ in here] == [p for batch in batches for p in batch.places]


def test_what_is_trained() -> None:
    found = tokenized([*plain(["xy"]), *chats()], Bytes())
    assert [flags.tolist() for _, _, flags in found] == [
        [True] * 3,
        *([False] * (4 + i) + [True] * 4 for i in range(1, 9)),
    ]
    read = Document((Span("all of it is read", False),), "r")
    assert not any(tokenized([read], Bytes())[0][2])


@pytest.mark.parametrize("processes", [1, 2])
def test_documents_without_text_are_left_out(processes: int) -> None:
    nothing = [Document((), "a"), Document((Span("", True), Span("", False)), "b")]
    documents = [*nothing, *plain(["x"]), *nothing]
    batches = list(token_batches(documents, Bytes(), processes, alone_seconds=0.0))
    assert [batch.tokens.tolist() for batch in batches] == [[ord("x"), 0]]
    assert sum(batch.empty for batch in batches) == 4


@pytest.mark.parametrize("processes", [1, 2])
def test_all_that_cannot_be_encoded_is_told_together(processes: int) -> None:
    documents = plain(["fine", *["with \0 in it"] * 7, "fine"])
    with pytest.raises(UserError) as caught:
        list(token_batches(documents, Bytes(), processes, alone_seconds=0.0))
    message = str(caught.value)
    assert message.startswith("d.jsonl:2: the text holds what the tokenizer 'bytes' reads as token")
    assert "d.jsonl:6: " in message
    assert "d.jsonl:7: " not in message
    assert message.endswith("; and 2 more")


def test_tokens_outside_the_models_vocabulary() -> None:
    problem = r"d\.jsonl:2: the tokenizer 'world-bytes' gives token 123, outside the model's vocab"
    with pytest.raises(UserError, match=problem):
        list(token_batches(plain(["a", "z"]), WorldBytes(), 1, vocab_size=100))


@pytest.mark.parametrize("processes", [1, 2])
def test_what_reading_raises_comes_through(processes: int) -> None:
    def documents() -> Iterator[Document]:
        yield from plain(["x"])
        raise UserError("line 2 is bad")

    with pytest.raises(UserError, match="line 2 is bad"):
        list(token_batches(documents(), Bytes(), processes, alone_seconds=0.0))


def test_results_come_in_order_however_long_they_take() -> None:
    items = [f"__import__('time').sleep({0.2 if i == 0 else 0}) or ({i}, {PID})" for i in range(20)]
    found = list(in_order(eval, items, 2))
    assert [number for number, _ in found] == list(range(20))
    assert len({process for _, process in found} - {os.getpid()}) == 2
    assert list(in_order(eval, [], 2)) == []


def test_no_more_is_taken_than_can_be_used() -> None:
    taken = []

    def items() -> Iterator[str]:
        for i in range(100):
            taken.append(i)
            yield "1"

    threads = threading.active_count()
    results = in_order(eval, items(), 1)
    next(results)
    assert len(taken) == 2
    results.close()
    assert threading.active_count() == threads


def test_what_libraries_print_is_no_result(capfd: pytest.CaptureFixture[str]) -> None:
    assert list(in_order(eval, ["print('hello') or 7"], 1)) == [7]
    assert capfd.readouterr().err == "hello\n"


def test_a_worker_that_is_killed(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"was killed \(signal 9\), perhaps for want of memory"):
        list(in_order(eval, ["1", f"__import__('os').kill({PID}, 9)"], 1))
    with pytest.raises(RuntimeError, match="what went wrong stands above"):
        list(in_order(eval, ["1", "1 / 0"], 1))
    assert "ZeroDivisionError" in capfd.readouterr().err


UNGUARDED = f"""
from eyas.data.workers import in_order
for result in in_order(eval, [{PID!r}, {PID!r}, "__import__('time').sleep(60)"], 2):
    print(result, flush=True)
"""


def test_workers_die_with_their_parent(tmp_path: Path) -> None:
    # A script without a guard, as people write them: it must not be run in the workers as well.
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, script], **pipes) as parent:
        workers = {int(parent.stdout.readline()) for _ in range(2)}
        assert len(workers - {parent.pid}) == 2
        os.kill(parent.pid, signal.SIGKILL)
        # They hold the other end of this: it ends when the last of them has died.
        assert parent.stderr.read() == b""


def test_spooled_tokens_are_mapped_from_files_without_names(tmp_path: Path) -> None:
    found = spooled([*plain(["xy"]), Document((), "e"), *chats()], Bytes(), 1, folder=tmp_path)
    expected = tokenized([*plain(["xy"]), *chats()], Bytes())
    assert isinstance(found.tokens, np.memmap)
    assert isinstance(found.trained, np.memmap)
    assert found.tokens.dtype == np.uint16
    assert found.tokens.tolist() == [t for _, tokens, _ in expected for t in tokens.tolist()]
    assert found.trained.tolist() == [f for _, _, flags in expected for f in flags.tolist()]
    assert np.diff(found.offsets).tolist() == [len(tokens) for _, tokens, _ in expected]
    assert list(found.places) == ["d.jsonl:1", *(f"c:{i}" for i in range(1, 9))]
    assert found.empty == 1
    assert list(tmp_path.iterdir()) == []


def test_flags_that_are_all_true_take_no_room() -> None:
    found = spooled(plain(["xy", "z"]), Bytes(), 1)
    assert found.trained.tolist() == [True] * 5
    assert found.trained.strides == (0,)
    assert len(spooled([], Bytes(), 1).tokens) == 0


def test_repeating_and_shuffling(tmp_path: Path) -> None:
    documents = [[i, *range(i % 5), 0] for i in range(100, 200)]
    flags = [[False] + [i % 2 == 0] * (len(d) - 1) for i, d in enumerate(documents)]

    def again(chance: np.random.Generator | None) -> list[tuple[list[int], list[bool]]]:
        source = one_by_one(documents, flags)
        batches = list(repeated(source, 3, chance, np.dtype(np.uint16), tmp_path))
        return [each for batch in batches for each in apart(batch)]

    pairs = list(zip(documents, flags, strict=True))
    assert again(None) == pairs * 3
    shuffled = again(np.random.default_rng(0))
    passes = [shuffled[at : at + 100] for at in (0, 100, 200)]
    assert all(sorted(each) == sorted(pairs) for each in passes)
    assert len({tuple(tokens[0] for tokens, _ in each) for each in passes}) == 3
    assert list(tmp_path.iterdir()) == []


def apart(batch: TokenBatch) -> list[tuple[list[int], list[bool]]]:
    assert batch.trained is not None
    bounds = np.cumsum([0, *batch.sizes]).tolist()
    return [(batch.tokens[a:b].tolist(), batch.trained[a:b].tolist()) for a, b in pairwise(bounds)]


def test_places_come_back_as_they_were() -> None:
    places = ["a.jsonl:1", "a.jsonl:0", "a:007", "b/c.txt", "", "17", "x:-5", "a.jsonl:2", "x:0"]
    places += [f"long:{10**25}", f"long:{10**18}", "line\nbreak:3"]
    growing = GrowingPlaces()
    for place in places:
        growing.append(place)
    kept = growing.places()
    assert list(kept) == places
    assert len(kept) == len(places)
    assert list(kept[2:7:2]) == places[2:7:2]
    assert kept[-1] == places[-1]
    order = np.array([3, 1, 1, 8])
    assert list(chosen_places(kept, order)) == [places[i] for i in order]
    assert list(GrowingPlaces().places()) == []
    some = numbered("x.bin document", np.array([4, 5, 6]))
    assert list(chosen_places(some, np.array([2, 0]))) == [
        "x.bin document 6",
        "x.bin document 4",
    ]


def test_cores() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)
