"""States kept for prompts that go on."""

import torch

from eyas.models import LayerState, State
from eyas.serving.batch import joined, rows_of, size_of
from eyas.serving.prefixes import Prefixes

HIDDEN = torch.zeros(1, 1, 4)


def state(value: float, rows: int = 1) -> State:
    return tuple(
        LayerState(
            torch.full((rows, 4), float(value)),
            torch.full((rows, 2, 2, 2), float(value)),
            torch.ones(rows, 4),
        )
        for _ in range(2)
    )


def test_the_longest_beginning_is_found() -> None:
    known = Prefixes(1 << 20)
    known.keep("m", [1, 2], state(2), HIDDEN)
    known.keep("m", [1, 2, 3, 4], state(4), HIDDEN)
    known.keep("other", [1, 2, 3], state(3), HIDDEN)

    def found(*tokens: int) -> int:
        prefix = known.longest("m", tokens)
        return prefix.length if prefix else 0

    assert found(1, 2, 3, 4, 5) == 4
    assert found(1, 2, 3, 4) == 4
    assert found(1, 2, 3, 5) == 2
    assert found(1, 2) == 2
    assert found(1) == 0
    assert found(2, 2, 3) == 0
    # 258 has the bytes of 2 in another place.
    assert found(258, 2) == 0
    assert known.longest("third", [1, 2]) is None


def test_the_oldest_go_where_there_is_no_room() -> None:
    one = size_of(state(0)) + HIDDEN.nbytes + 4
    known = Prefixes(3 * one)
    for token in range(3):
        known.keep("m", [token], state(token), HIDDEN)
    assert known.longest("m", [0, 9]) is not None  # used again
    known.keep("m", [3], state(3), HIDDEN)
    assert [known.longest("m", [token]) is not None for token in range(4)] == [
        True, False, True, True,
    ]  # fmt: skip
    assert (len(known), known.bytes) == (3, 3 * one)
    Prefixes(0).keep("m", [1], state(1), HIDDEN)
    small = Prefixes(one - 1)
    small.keep("m", [1], state(1), HIDDEN)
    assert (len(small), small.bytes) == (0, 0)


def test_rows_join_and_leave() -> None:
    both = joined([state(1), state(2, rows=2), state(5)])
    assert both[0].wkv[:, 0, 0, 0].tolist() == [1, 2, 2, 5]
    kept = rows_of(both, [3, 0])
    assert kept[1].attention_input[:, 0].tolist() == [5, 1]
    assert kept[1].wkv.untyped_storage().nbytes() == 2 * 8 * 4  # nothing of the others
