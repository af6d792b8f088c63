"""Batches: nothing lost, nothing twice, and resuming exactly."""

from itertools import islice

import numpy as np
import pytest
import torch

from eyas.data.batches import (
    UNTRAINED,
    Batch,
    BatchConfig,
    Cursor,
    batches,
    one_pass,
    steps_per_epoch,
)
from eyas.data.corpus import Corpus
from eyas.errors import UserError

LENGTHS = [9, 2, 1, 30, 5, 17, 3, 3, 12]


def corpus_of(lengths: list[int], trained: list[bool] | None = None) -> Corpus:
    """The tokens count up from 1 over all documents, so that each names its position."""
    total = sum(lengths)
    return Corpus(
        np.arange(1, total + 1, dtype=np.uint16),
        np.array([True] * total if trained is None else trained),
        np.cumsum([0, *lengths]),
        [f"d:{number}" for number in range(1, len(lengths) + 1)],
    )


def passes(corpus: Corpus, config: BatchConfig, seed: int, count: int) -> list[list[Batch]]:
    """The batches of the first `count` passes."""
    found: list[list[Batch]] = [[] for _ in range(count)]
    epoch = 0
    for batch, cursor in batches(corpus, config, seed):
        found[epoch].append(batch)
        epoch = cursor.epoch
        if epoch == count:
            return found
    raise AssertionError("batches end")


def pairs(some: list[Batch]) -> list[tuple[int, int]]:
    """Input and target of every trained position."""
    found = []
    for batch in some:
        kept = batch.targets != UNTRAINED
        inputs, targets = batch.tokens[kept].tolist(), batch.targets[kept].tolist()
        found += list(zip(inputs, targets, strict=True))
    return found


def all_pairs(lengths: list[int]) -> list[tuple[int, int]]:
    ends = np.cumsum(lengths).tolist()
    first = {end + 1 for end in ends}
    return [(token, token + 1) for token in range(1, ends[-1]) if token + 1 not in first]


def same(a: Batch, b: Batch) -> bool:
    return (
        torch.equal(a.tokens, b.tokens)
        and torch.equal(a.targets, b.targets)
        and a.places == b.places
    )


@pytest.mark.parametrize("micro_batch", [1, 2, 4, 50])
@pytest.mark.parametrize("ctx", [1, 4, 7, 16, 40])
def test_each_pass_has_every_pair_once(ctx: int, micro_batch: int) -> None:
    config = BatchConfig(ctx, micro_batch)
    for some in passes(corpus_of(LENGTHS), config, seed=1, count=3):
        assert sorted(pairs(some)) == all_pairs(LENGTHS)
    assert pairs(list(one_pass(corpus_of(LENGTHS), config))) == all_pairs(LENGTHS)


def test_passes_differ_and_follow_from_the_seed() -> None:
    corpus, config = corpus_of([3] * 50), BatchConfig(8, 1)
    first, second = passes(corpus, config, seed=1, count=2)
    assert pairs(first) != pairs(second)
    assert pairs(first) == pairs(passes(corpus, config, seed=1, count=1)[0])
    assert pairs(first) != pairs(passes(corpus, config, seed=2, count=1)[0])
    assert pairs(first) != all_pairs([3] * 50)


def test_the_order_is_that_of_numpy_with_seed_and_epoch() -> None:
    found = passes(corpus_of([2] * 20), BatchConfig(8, 1), seed=7, count=2)
    for epoch, some in enumerate(found):
        order = np.random.Generator(np.random.PCG64([7, epoch])).permutation(20)
        assert [source for source, _ in pairs(some)] == (2 * order + 1).tolist()


@pytest.mark.parametrize("micro_batch", [1, 3, 4])
def test_going_on_from_any_cursor_is_exact(micro_batch: int) -> None:
    corpus, config = corpus_of(LENGTHS), BatchConfig(4, micro_batch)
    run = list(islice(batches(corpus, config, seed=5), 60))
    assert run[-1][1].epoch > 1
    for at, (_, cursor) in enumerate(run[:-8]):
        resumed = list(islice(batches(corpus, config, 5, cursor), 7))
        for (batch, behind), (again, behind_again) in zip(run[at + 1 :], resumed, strict=False):
            assert same(batch, again)
            assert behind == behind_again


def test_cursors_count_pieces_and_passes() -> None:
    cursors = [cursor for _, cursor in islice(batches(corpus_of([2] * 5), BatchConfig(4, 2), 0), 5)]
    assert cursors == [Cursor(0, 2), Cursor(0, 4), Cursor(1, 0), Cursor(1, 2), Cursor(1, 4)]


def test_a_cursor_at_the_very_end_goes_on_with_the_next_pass() -> None:
    corpus, config = corpus_of([2] * 5), BatchConfig(4, 2)
    at_end, at_start = (batches(corpus, config, 0, c) for c in (Cursor(0, 5), Cursor(1, 0)))
    assert same(next(at_end)[0], next(at_start)[0])


def test_a_cursor_of_other_data_is_refused() -> None:
    with pytest.raises(UserError, match=r"d:1: the saved position is piece 6 and the data has 5;"):
        batches(corpus_of([2] * 5), BatchConfig(4, 2), 0, Cursor(3, 6))


def test_no_batch_mixes_two_passes() -> None:
    sizes = [
        len(batch.tokens)
        for batch, _ in islice(batches(corpus_of([2] * 5), BatchConfig(4, 2), 0), 6)
    ]
    assert sizes == [2, 2, 1, 2, 2, 1]


@pytest.mark.parametrize(
    ("ctx", "lengths", "width"),
    [(64, [2], 16), (64, [17], 16), (64, [18, 3], 32), (64, [99], 64), (20, [18], 20), (5, [3], 5)],
)
def test_rows_are_padded_on_the_right(ctx: int, lengths: list[int], width: int) -> None:
    batch = next(one_pass(corpus_of(lengths), BatchConfig(ctx, 9)))
    assert batch.tokens.shape[1] == batch.targets.shape[1] == width
    assert batch.tokens.dtype == batch.targets.dtype == torch.int64
    used = min(lengths[0] - 1, ctx)
    assert batch.tokens[0].tolist() == [*range(1, used + 1), *[0] * (width - used)]
    assert batch.targets[0].tolist() == [*range(2, used + 2), *[UNTRAINED] * (width - used)]


def test_places_name_the_rows() -> None:
    found = [batch.places for batch in one_pass(corpus_of([3, 1, 6]), BatchConfig(2, 2))]
    assert found == [("d:1", "d:3"), ("d:3", "d:3")]


def test_untrained_targets_and_pieces_are_left_out() -> None:
    trained = [True, False, False, True, *[False] * 8, True, False]
    found = list(one_pass(corpus_of([4, 8, 2], trained), BatchConfig(3, 1)))
    assert pairs(found) == [(3, 4)]
    assert found[0].tokens[0].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "corpus",
    [corpus_of([3, 4], [True, False, False, True, False, False, False]), corpus_of([1, 1])],
)
def test_nothing_to_train_on(corpus: Corpus) -> None:
    config = BatchConfig(4, 1)
    calls = (
        lambda: batches(corpus, config, 0),
        lambda: one_pass(corpus, config),
        lambda: steps_per_epoch(corpus, config, 1),
    )
    for call in calls:
        with pytest.raises(UserError, match=r"d:1: nothing is trained in the 2 documents"):
            call()


@pytest.mark.parametrize(
    ("pieces", "micro_batch", "accumulate", "steps"),
    [(1, 8, 8, 1), (8, 1, 8, 1), (9, 1, 8, 2), (9, 2, 2, 3), (16, 4, 2, 2), (17, 4, 2, 3)],
)
def test_steps_per_epoch(pieces: int, micro_batch: int, accumulate: int, steps: int) -> None:
    assert (
        steps_per_epoch(corpus_of([2] * pieces), BatchConfig(4, micro_batch), accumulate) == steps
    )


def test_ranges_are_checked() -> None:
    with pytest.raises(ValueError, match="ctx must be at least 1"):
        BatchConfig(ctx=0)
    with pytest.raises(ValueError, match="micro_batch must be at least 1"):
        BatchConfig(micro_batch=0)


def test_batches_can_be_changed_without_changing_the_data() -> None:
    corpus = corpus_of([5])
    batch = next(one_pass(corpus, BatchConfig(4, 1)))
    batch.tokens.zero_()
    assert corpus.tokens.tolist() == [1, 2, 3, 4, 5]
