"""Documents as colored text."""

import numpy as np
import pytest

from eyas.data.corpus import Corpus
from eyas.data.preview import colored
from eyas.data.tokenizer import Tokenizer, WorldBytes
from eyas.data.world import World


def corpus_of(*documents: tuple[bytes, str]) -> Corpus:
    """Documents as bytes in the World numbering, their marks as + and -."""
    tokens = [[byte + 1 for byte in data] + [0] for data, _ in documents]
    marks = "".join(mark + "-" for _, mark in documents)
    return Corpus(
        np.concatenate(tokens).astype(np.uint16),
        np.array([mark == "+" for mark in marks]),
        np.cumsum([0, *map(len, tokens)]),
        ["d"] * len(documents),
    )


def test_runs_of_trained_and_untrained_text() -> None:
    corpus = corpus_of((b"abcde", "--++-"), (b"xy", "+-"))
    assert colored(corpus, 0, WorldBytes()) == [("ab", False), ("cd", True), ("e", False)]
    assert colored(corpus, 1, WorldBytes()) == [("x", True), ("y", False)]


@pytest.mark.parametrize(
    ("data", "marks", "runs"),
    [
        ("你好".encode(), "++++++", [("你好", True)]),
        ("你好".encode(), "---+++", [("你", False), ("好", True)]),
        ("你好".encode(), "++----", [("你好", False)]),
        ("a你b".encode(), "--++-", [("a", False), ("你", True), ("b", False)]),
        (b"a\xe4\xbd", "-++", [("a", False), ("\ufffd", True)]),
        (b"\xff\xfea", "++-", [("\ufffd\ufffd", True), ("a", False)]),
        (b"", "", []),
    ],
)
def test_characters_in_several_tokens(
    data: bytes, marks: str, runs: list[tuple[str, bool]]
) -> None:
    assert colored(corpus_of((data, marks)), 0, WorldBytes()) == runs


@pytest.mark.parametrize(
    ("limit", "runs"),
    [
        (6, [("abc", False), ("def", True)]),
        (5, [("abc", False), ("de", True), ("… and 1 characters more", False)]),
        (3, [("abc", False), ("… and 3 characters more", False)]),
        (2, [("ab", False), ("… and 4 characters more", False)]),
    ],
)
def test_long_documents_are_shortened(limit: int, runs: list[tuple[str, bool]]) -> None:
    assert colored(corpus_of((b"abcdef", "---+++")), 0, WorldBytes(), limit) == runs


@pytest.mark.parametrize("tokenizer", [WorldBytes(), World()], ids=lambda t: t.name)
def test_what_is_left_of_a_long_document_is_counted(tokenizer: Tokenizer) -> None:
    text = "猫 and 🦅, naïve\n" * 5000
    tokens = np.array([*tokenizer.encode(text), 0], np.uint16)
    corpus = Corpus(tokens, np.ones(len(tokens), bool), np.array([0, len(tokens)]), ["d"])
    shown = [(text[:1000], True), (f"… and {len(text) - 1000:,} characters more", False)]
    assert colored(corpus, 0, tokenizer) == shown
