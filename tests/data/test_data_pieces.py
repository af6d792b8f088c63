"""Cutting documents, against a plain loop."""

import random

import numpy as np
import pytest

from eyas.data.pieces import cut, has_trained_target, pair_counts


def plain(lengths: list[int], trained: list[bool], ctx: int) -> list[tuple[int, int, int, bool]]:
    """start, length, document and whether a target is trained, of every piece."""
    pieces, begin = [], 0
    for document, length in enumerate(lengths):
        pairs = list(zip(range(begin, begin + length), range(begin + 1, begin + length)))  # noqa: B905
        for at in range(0, len(pairs), ctx):
            piece = pairs[at : at + ctx]
            some = any(trained[target] for _, target in piece)
            pieces.append((piece[0][0], len(piece), document, some))
        begin += length
    return pieces


@pytest.mark.parametrize("ctx", [1, 2, 3, 8, 100])
def test_pieces_are_those_of_a_plain_loop(ctx: int) -> None:
    chance = random.Random(ctx)
    for _ in range(100):
        lengths = [chance.choice([1, 1, 2, 3, 8, 9, 10, 17]) for _ in range(chance.randrange(1, 9))]
        trained = [chance.random() < 0.2 for _ in range(sum(lengths))]
        pieces = cut(np.cumsum([0, *lengths]), ctx)
        some = has_trained_target(pieces, np.array(trained))
        columns = (pieces.starts, pieces.lengths, pieces.documents, some)
        found = list(zip(*(column.tolist() for column in columns), strict=True))
        assert found == plain(lengths, trained, ctx)
        assert len(pieces) == len(found)


def test_no_pieces() -> None:
    pieces = cut(np.array([0, 1, 2]), 4)
    assert len(pieces) == 0
    assert has_trained_target(pieces, np.ones(2, bool)).tolist() == []


def test_one_true_byte_seen_as_many_marks() -> None:
    pieces = cut(np.array([0, 5, 6, 9]), 2)
    assert has_trained_target(pieces, np.broadcast_to(np.True_, (9,))).tolist() == [True] * 3


def test_pair_counts() -> None:
    assert pair_counts(np.array([0, 1, 1, 5])).tolist() == [0, 0, 3]
