"""Numbers of a corpus, counted again by loops over small ones."""

from itertools import chain

import numpy as np
import pytest

from eyas.data.corpus import Corpus
from eyas.data.pieces import cut
from eyas.data.statistics import document_hashes, losses, repeated, trained_targets


def corpus_of(documents: list[list[int]], dtype: type = np.uint16, start: int = 0) -> Corpus:
    """Documents whose odd tokens are trained; `start` tokens before the first."""
    tokens = np.array([9] * start + list(chain(*documents)), dtype)
    offsets = start + np.cumsum([0, *map(len, documents)])
    return Corpus(tokens, tokens % 2 == 1, offsets, [f"d:{i}" for i in range(len(documents))])


DOCUMENTS = [[1, 2, 3, 0], [4, 5], [1, 2, 3, 0], [1, 2, 3], [0], [1, 2, 3, 0, 0], [7], [4, 5]]


@pytest.mark.parametrize("chunk", [1, 5, 1 << 20])
def test_trained_targets_leave_the_first_token_out(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eyas.data.statistics._CHUNK", chunk)
    counts = [sum(token % 2 for token in document[1:]) for document in DOCUMENTS]
    assert trained_targets(corpus_of(DOCUMENTS)).tolist() == counts
    assert trained_targets(corpus_of(DOCUMENTS, start=3)).tolist() == counts
    corpus = corpus_of(DOCUMENTS)
    whole = Corpus(
        corpus.tokens, np.broadcast_to(np.True_, corpus.tokens.shape), corpus.offsets, corpus.places
    )
    assert trained_targets(whole).tolist() == [len(document) - 1 for document in DOCUMENTS]


def test_copies_are_found_whatever_holds_them() -> None:
    hashes = document_hashes(corpus_of(DOCUMENTS))
    assert (hashes == document_hashes(corpus_of(DOCUMENTS, np.int32, start=2))).all()
    copies, originals = repeated(hashes)
    # The end of a document, which 3 has not, makes no difference; a second end does.
    assert list(zip(copies.tolist(), originals.tolist(), strict=True)) == [(2, 0), (3, 0), (7, 1)]
    assert [len(found) for found in repeated(hashes[:2])] == [0, 0]
    assert [len(found) for found in repeated(hashes[:0])] == [0, 0]


def test_many_copies() -> None:
    values = np.random.default_rng(0).integers(-5, 5, 200)
    first: dict[int, int] = {}
    pairs = [(i, first[v]) for i, v in enumerate(values.tolist()) if first.setdefault(v, i) != i]
    copies, originals = repeated(values)
    assert list(zip(copies.tolist(), originals.tolist(), strict=True)) == pairs


def test_losses_are_what_the_pieces_lack() -> None:
    lengths = np.random.default_rng(1).integers(1, 40, 100)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    for ctx in (1, 7, 38, 39, 100):
        pairs = int((lengths - 1).sum())
        for way, loss in losses(offsets, ctx).items():
            kept = int(cut(offsets, ctx, way).lengths.sum())
            assert loss.targets == pairs - kept
            assert loss.documents == (0 if way == "split" else sum(lengths - 1 > ctx))
