"""Batches: nothing lost, nothing twice, and resuming exactly."""

from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from eyas.data.batches import (
    UNTRAINED,
    Batch,
    BatchConfig,
    Cursor,
    Share,
    batches,
    one_pass,
    step_count,
)
from eyas.data.corpus import Corpus
from eyas.data.mixing import times_seen
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
        and str(a.starts) == str(b.starts)
    )


def padded(ctx: int, micro_batch: int) -> BatchConfig:
    return BatchConfig(ctx, micro_batch, dataload="pad")


def every_way(ctx: int, micro_batch: int) -> list[BatchConfig]:
    """All ways in which documents become rows, each document whole."""
    ways = [BatchConfig(ctx, micro_batch), padded(ctx, micro_batch)]
    return [*ways, BatchConfig(ctx, 1, dataload="only")]


@pytest.mark.parametrize("micro_batch", [1, 2, 4, 50])
@pytest.mark.parametrize("ctx", [1, 4, 7, 16, 40])
def test_each_pass_has_every_pair_once(ctx: int, micro_batch: int) -> None:
    for config in every_way(ctx, micro_batch):
        for some in passes(corpus_of(LENGTHS), config, seed=1, count=3):
            assert sorted(pairs(some)) == all_pairs(LENGTHS)
        assert sorted(pairs(list(one_pass(corpus_of(LENGTHS), config)))) == all_pairs(LENGTHS)
    in_order = one_pass(corpus_of(LENGTHS), padded(ctx, micro_batch))
    assert pairs(list(in_order)) == all_pairs(LENGTHS)


def test_passes_differ_and_follow_from_the_seed() -> None:
    corpus, config = corpus_of([3] * 50), BatchConfig(7, 1)
    first, second = passes(corpus, config, seed=1, count=2)
    assert pairs(first) != pairs(second)
    assert pairs(first) == pairs(passes(corpus, config, seed=1, count=1)[0])
    assert pairs(first) != pairs(passes(corpus, config, seed=2, count=1)[0])
    assert pairs(first) != all_pairs([3] * 50)


def test_the_order_is_that_of_numpy_with_seed_and_epoch() -> None:
    found = passes(corpus_of([2] * 20), padded(8, 1), seed=7, count=2)
    for epoch, some in enumerate(found):
        order = np.random.Generator(np.random.PCG64([7, epoch])).permutation(20)
        assert [source for source, _ in pairs(some)] == (2 * order + 1).tolist()


@pytest.mark.parametrize("micro_batch", [1, 3, 4])
def test_going_on_from_any_cursor_is_exact(micro_batch: int) -> None:
    for config in every_way(8, micro_batch):
        going_on(replace(corpus_of(LENGTHS), weights=np.linspace(0.3, 1.7, 9)), config)
        going_on(corpus_of(LENGTHS), config)
    going_on(corpus_of(LENGTHS), BatchConfig(8, micro_batch, dataload="get"))


def going_on(corpus: Corpus, config: BatchConfig) -> None:
    run = list(islice(batches(corpus, config, seed=5), 60))
    assert run[-1][1].epoch > 1
    for at, (_, cursor) in enumerate(run[:-8]):
        resumed = list(islice(batches(corpus, config, 5, cursor), 7))
        for (batch, behind), (again, behind_again) in zip(run[at + 1 :], resumed, strict=False):
            assert same(batch, again)
            assert behind == behind_again


def test_cursors_count_rows_and_passes() -> None:
    cursors = [cursor for _, cursor in islice(batches(corpus_of([2] * 5), padded(4, 2), 0), 5)]
    assert cursors == [Cursor(0, 2), Cursor(0, 4), Cursor(1, 0), Cursor(1, 2), Cursor(1, 4)]


def test_a_cursor_at_the_very_end_goes_on_with_the_next_pass() -> None:
    corpus, config = corpus_of([2] * 5), padded(4, 2)
    at_end, at_start = (batches(corpus, config, 0, c) for c in (Cursor(0, 5), Cursor(1, 0)))
    assert same(next(at_end)[0], next(at_start)[0])


def test_a_cursor_of_other_data_is_refused() -> None:
    with pytest.raises(UserError, match=r"d:1: the saved position is row 6 and the data has 5;"):
        batches(corpus_of([2] * 5), padded(4, 2), 0, Cursor(3, 6))


def test_no_batch_mixes_two_passes() -> None:
    sizes = [
        len(batch.tokens) for batch, _ in islice(batches(corpus_of([2] * 5), padded(4, 2), 0), 6)
    ]
    assert sizes == [2, 2, 1, 2, 2, 1]


@pytest.mark.parametrize(
    ("ctx", "lengths", "width"),
    [(64, [2], 16), (64, [17], 16), (64, [18, 3], 32), (64, [99], 64), (20, [18], 20), (5, [3], 5)],
)
def test_rows_are_padded_on_the_right(ctx: int, lengths: list[int], width: int) -> None:
    batch = next(one_pass(corpus_of(lengths), padded(ctx, 9)))
    assert batch.starts is None
    assert batch.tokens.shape[1] == batch.targets.shape[1] == width
    assert batch.tokens.dtype == batch.targets.dtype == torch.int64
    used = min(lengths[0] - 1, ctx)
    assert batch.tokens[0].tolist() == [*range(1, used + 1), *[0] * (width - used)]
    assert batch.targets[0].tolist() == [*range(2, used + 2), *[UNTRAINED] * (width - used)]


def test_places_name_the_rows() -> None:
    found = [batch.places for batch in one_pass(corpus_of([3, 1, 6]), padded(2, 2))]
    assert found == [(("d:1",), ("d:3",)), (("d:3",), ("d:3",))]
    (packed,) = one_pass(corpus_of([3, 1, 6]), BatchConfig(8))
    assert packed.places == (("d:1", "d:3"),)


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
        lambda: step_count(corpus, config, 1),
    )
    for call in calls:
        with pytest.raises(UserError, match=r"d:1: nothing is trained in the 2 documents"):
            call()


@pytest.mark.parametrize(
    ("pieces", "micro_batch", "accumulate", "steps"),
    [(1, 8, 8, 1), (8, 1, 8, 1), (9, 1, 8, 2), (9, 2, 2, 3), (16, 4, 2, 2), (17, 4, 2, 3)],
)
def test_steps_of_a_pass(pieces: int, micro_batch: int, accumulate: int, steps: int) -> None:
    corpus, config = corpus_of([2] * pieces), padded(4, micro_batch)
    assert step_count(corpus, config, accumulate) == steps
    assert step_count(corpus, config, 1, world=accumulate) == steps
    assert step_count(corpus, config, accumulate, epochs=3.0) == 3 * steps
    assert step_count(corpus, config, accumulate, epochs=1.5) == steps + round(steps / 2)


def test_some_passes_are_as_many_steps_as_batches() -> None:
    corpus = replace(corpus_of(LENGTHS * 9), weights=np.full(81, 0.7))
    for config in every_way(20, 1):
        count = step_count(corpus, config, 1, seed=3, epochs=4.0)
        assert count == sum(map(len, passes(corpus, config, seed=3, count=4)))


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


def segments(batch: Batch) -> list[list[list[int]]]:
    """The inputs of each row, parted where a document begins, without the padding."""
    rows = []
    starts = batch.starts if batch.starts is not None else torch.zeros_like(batch.tokens).bool()
    for tokens, begins in zip(batch.tokens.tolist(), starts.tolist(), strict=True):
        row: list[list[int]] = [[]]
        for token, begin in zip(tokens, begins, strict=True):
            if begin:
                row.append([])
            if token:
                row[-1].append(token)
        rows.append(row)
    return rows


def test_packed_rows_are_whole_documents_end_to_end() -> None:
    lengths = [9, 2, 30, 5, 17, 3, 3, 12]
    ends = np.cumsum(lengths).tolist()
    documents = [
        list(range(end - length + 1, end)) for end, length in zip(ends, lengths, strict=True)
    ]
    found = [
        segment
        for batch in passes(corpus_of(lengths), BatchConfig(32, 2), 1, 1)[0]
        for row in segments(batch)
        for segment in row
    ]
    assert sorted(found) == documents


def test_packing_wastes_little() -> None:
    chance = np.random.Generator(np.random.PCG64(1))
    lengths = (chance.lognormal(4, 0.8, 4000).astype(int) + 2).tolist()
    rows = sum(len(b.tokens) for b in passes(corpus_of(lengths), BatchConfig(512, 8), 1, 1)[0])
    pieces = [min(512, n - 1 - at) for n in lengths for at in range(0, n - 1, 512)]
    assert sum(pieces) / (rows * 512) > 0.97


@pytest.mark.parametrize(("long", "kept"), [("split", 29), ("truncate", 8), ("drop", 0)])
def test_what_happens_to_long_documents(long: str, kept: int) -> None:
    config = BatchConfig(8, 1, long=long)  # type: ignore[arg-type]
    found = pairs(passes(corpus_of([30, 4]), config, 1, 1)[0])
    assert len(found) == kept + 3


def test_windows_are_whole_and_cross_documents() -> None:
    corpus, config = corpus_of([3] * 100), BatchConfig(32, 2, dataload="get")
    some = [batch for one in passes(corpus, config, 1, 20) for batch in one]
    assert sum(len(batch.tokens) for batch in some) == 20 * -(-299 // 32)
    begins = set()
    for batch in some:
        assert batch.starts is None
        for tokens, targets in zip(batch.tokens, batch.targets, strict=True):
            assert (
                (tokens + 1).tolist()
                == targets.tolist()
                == list(range(int(tokens[0]) + 1, int(tokens[0]) + 33))
            )
            begins.add(int(tokens[0]))
    assert min(begins) < 5
    assert max(begins) > 263
    side_by_side = [pair for batch in one_pass(corpus, config) for pair in pairs([batch])]
    assert side_by_side == [(token, token + 1) for token in range(1, 300)]
    tiny = list(one_pass(corpus_of([2, 2]), config))
    assert pairs(tiny) == [(1, 2), (2, 3), (3, 4)]


@pytest.mark.parametrize("world", [2, 3, 5])
def test_ranks_share_what_one_process_has(world: int) -> None:
    corpus = corpus_of(LENGTHS * 3)
    for config in every_way(16, 2):
        whole = replace(
            config, micro_batch=1, dataload="pad" if config.dataload == "only" else config.dataload
        )
        whole = replace(whole, micro_batch=config.micro_batch * world)
        together = islice(batches(corpus, whole, 3), 12)
        ranks = [batches(corpus, config, 3, share=Share(rank, world)) for rank in range(world)]
        for all_rows, cursor in together:
            parts = [next(rank) for rank in ranks]
            assert {behind for _, behind in parts} == {cursor}
            assert [pair for part, _ in parts for pair in pairs([part])] == pairs([all_rows])
            assert sum(part.pairs for part, _ in parts) == all_rows.pairs


def test_a_run_goes_on_with_another_number_of_ranks() -> None:
    corpus, config = corpus_of(LENGTHS * 3), BatchConfig(16, 1)
    alone = [pair for batch in passes(corpus, config, 3, 1)[0] for pair in pairs([batch])]
    ranks = [batches(corpus, config, 3, share=Share(rank, 3)) for rank in range(3)]
    begun, cursor = [], Cursor()
    for _ in range(2):
        for rank in ranks:
            batch, cursor = next(rank)
            begun += pairs([batch])
    for batch, behind in batches(corpus, config, 3, cursor):
        begun += pairs([batch])
        if behind.epoch:
            break
    assert begun == alone


def test_weights_say_how_often_a_document_is_seen() -> None:
    weights = np.array([1.0] * 10 + [0.25] * 8 + [2.5] * 4)
    corpus = replace(corpus_of([2] * 22), weights=weights)
    seen: Counter[int] = Counter()
    for some in passes(corpus, padded(8, 3), seed=2, count=8):
        documents = [(source - 1) // 2 for source, _ in pairs(some)]
        assert sorted(d for d in documents if d < 10) == list(range(10))
        assert sum(10 <= d < 18 for d in documents) == 2
        assert sum(d >= 18 for d in documents) == 10
        seen.update(documents)
    assert [seen[d] for d in range(22)] == [8] * 10 + [2] * 8 + [20] * 4


def test_weights_that_leave_passes_empty_are_refused() -> None:
    corpus = corpus_of([4] * 10)
    for weight in (1e-9, 0.05):
        with pytest.raises(UserError, match=r"d:1: a pass sees \S+ of the 10 documents .* larger"):
            batches(replace(corpus, weights=np.full(10, weight)), BatchConfig(8), 0)
    assert batches(replace(corpus, weights=np.full(10, 0.1)), BatchConfig(8), 0)


def test_times_seen_differ_between_passes_and_follow_from_the_seed() -> None:
    weights = np.full(1000, 0.1)
    first, second = times_seen(weights, 1, 0), times_seen(weights, 1, 1)
    assert first.sum() == second.sum() == 100
    assert not (first & second).any()
    assert (times_seen(weights, 1, 0) == first).all()
    assert (times_seen(weights, 2, 0) != first).any()


def test_settings_that_exclude_one_another() -> None:
    with pytest.raises(ValueError, match="dataload only takes micro_batch 1, not 2; try pad"):
        BatchConfig(8, 2, dataload="only")
    with pytest.raises(ValueError, match="dataload get has no long documents"):
        BatchConfig(8, 2, dataload="get", long="drop")


def test_dropping_everything_is_told() -> None:
    with pytest.raises(UserError, match=r"d:1: nothing is trained .* left out \(drop\)"):
        batches(corpus_of([30, 40]), BatchConfig(8, long="drop"), 0)


def test_beginnings_without_an_answer_are_told() -> None:
    flags = np.zeros(80, bool)
    flags[[20, 60]] = True
    corpus = replace(corpus_of([40, 40]), trained=flags)
    with pytest.raises(UserError, match=r"d:1: nothing is trained .* first 8 .*\(truncate\)"):
        batches(corpus, BatchConfig(8, long="truncate"), 0)
