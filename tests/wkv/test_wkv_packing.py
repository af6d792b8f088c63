"""Documents end to end in a row are as each of them alone."""

import itertools

import pytest
import torch
from test_wkv_operators import BACKENDS, OPERATORS, inputs
from tolerance import assert_close
from torch import Tensor

from eyas import wkv
from eyas.wkv.layout import lay_out

ROWS = {
    "around the chunk": ([1, 31, 32, 33], [64, 33]),
    "short": ([1, 1, 2, 15, 3, 30, 20], [40, 32]),
    "one and many": ([97], [1] * 97),
    "long": ([100, 2, 64], [31, 32, 33, 70]),
    "one token each": ([1] * 40, [1] * 40),
    "few tokens each": ([2, 3] * 8, [4, 1, 5] * 4),
    "a few more": ([7, 8, 5, 9, 7] * 2, [8] * 9),
}


def starts_of(rows: tuple[list[int], ...], length: int) -> Tensor:
    starts = torch.zeros(len(rows), length, dtype=torch.bool)
    for row, documents in enumerate(rows):
        for at in itertools.accumulate(documents[:-1]):
            starts[row, at] = True
    return starts


def case(name: str, rows: tuple[list[int], ...], decay: str, dtype=torch.float64):
    length = max(map(sum, rows))
    args = inputs(name, length, decay, dtype)
    fresh = torch.randn(3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return args, starts_of(rows, length), fresh.to(args[-1].dtype).requires_grad_()


def alone(name: str, args: list[Tensor], starts: Tensor, fresh: Tensor) -> tuple[Tensor, Tensor]:
    """Each document by itself through the reference, which is checked against the papers' loop."""
    length, outs, states = starts.shape[1], [], []
    for row in range(2):
        state, out = args[-1][row : row + 1], []
        bounds = [0, *starts[row].nonzero()[:, 0].tolist(), length]
        for begin, end in itertools.pairwise(bounds):
            if begin or starts[row, 0]:
                state = fresh[None]
            if begin == end:
                continue
            here = [x[row : row + 1, begin:end] if x.dim() == 4 else x for x in args[:-1]]
            part, state = getattr(wkv.reference, name)(*here, state)
            out.append(part)
        outs.append(torch.cat(out, 1))
        states.append(state)
    return torch.cat(outs), torch.cat(states)


def assert_as_alone(backend, name: str, args: list[Tensor], starts: Tensor, fresh: Tensor) -> None:
    """Outputs, last states, and the gradients of everything."""
    found = getattr(backend, name)(*args, starts, fresh)
    right = alone(name, args, starts, fresh)
    for actual, exact in zip(found, right, strict=True):
        assert_close(actual, exact)
    weights = [torch.randn_like(x) for x in right]
    losses = [sum((x * w).sum() for x, w in zip(xs, weights, strict=True)) for xs in (found, right)]
    grads = [torch.autograd.grad(x, [*args, fresh], materialize_grads=True) for x in losses]
    for actual, exact in zip(*grads, strict=True):
        assert_close(actual, exact, "gradient")


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.__name__)
@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("decay", ["weak", "strong"])
def test_packed_is_alone_forward_and_backward(backend, name, rows, decay):
    assert_as_alone(backend, name, *case(name, rows, decay))


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.__name__)
@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.7])
def test_random_boundaries_at_the_first_token_too(backend, name, share):
    args, _, fresh = case(name, ([75], [75]), "mixed")
    starts = torch.rand(2, 75, generator=torch.Generator().manual_seed(7)) < share
    starts[0, 0], starts[1, 0] = True, False
    assert_as_alone(backend, name, args, starts, fresh)


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_every_document_begins_with_a_chunk_and_no_two_tokens_share_a_place(rows):
    starts = starts_of(rows, max(map(sum, rows)))
    tokens = torch.arange(1.0, 1 + starts.numel()).view(*starts.shape, 1, 1)
    layout = lay_out(tokens, starts)
    places = layout.spread(tokens)
    assert torch.equal(layout.collected(places), tokens)
    assert places.count_nonzero() == tokens.numel()
    firsts = places.view(len(starts), -1, layout.chunk)[:, :, 0]
    begins = [torch.zeros(len(starts), dtype=torch.bool) if b is None else b for b in layout.begins]
    assert torch.equal(firsts[torch.stack(begins, 1)], tokens[starts].flatten())


@pytest.mark.parametrize(
    ("rows", "chunk"),
    [([1] * 512, 4), ([5] * 100, 8), ([12] * 40, 16), ([45] * 10, 16), ([200] * 3, 32)],
)
def test_short_documents_leave_few_places_empty(rows, chunk):
    starts = starts_of((rows,), sum(rows))
    layout = lay_out(torch.zeros(1, sum(rows), 1, 1), starts)
    assert layout.chunk == chunk
    assert layout.length <= 4 * sum(rows)


@pytest.mark.parametrize("length", [1, 33, 64])
def test_one_document_a_row_moves_no_token(length):
    starts = torch.zeros(2, length, dtype=torch.bool)
    starts[0, 0] = True
    layout = lay_out(torch.zeros(2, length, 1, 1), starts)
    assert layout.positions is None
    assert layout.length < length + layout.chunk


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.__name__)
@pytest.mark.parametrize("name", OPERATORS)
def test_a_row_may_begin_afresh_and_fresh_may_be_nothing(backend, name):
    args, starts, fresh = case(name, ([40, 9], [49]), "mixed")
    starts[0, 0] = True
    nothing = torch.zeros_like(fresh)
    found = getattr(backend, name)(*args, starts)
    for actual, exact in zip(found, alone(name, args, starts, nothing), strict=True):
        assert_close(actual, exact)
    (used,) = torch.autograd.grad(found[0].sum(), args[-1])
    assert used[0].abs().sum() == 0
    assert used[1].abs().sum() > 0


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.__name__)
@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_narrow_types_stay_close(backend, name, dtype):
    args, starts, fresh = case(name, ([20, 30, 14], [64]), "mixed", dtype)
    args[-1] = args[-1].float()
    found = getattr(backend, name)(*args, starts, fresh.float())
    right = alone(name, [x.double() for x in args], starts, fresh.double())
    assert found[0].dtype == dtype
    for actual, exact in zip(found, right, strict=True):
        assert_close(actual, exact)
