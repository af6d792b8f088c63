"""The recurrences in matrix form: whole chunks of tokens at once, in plain PyTorch.

Inside a chunk every token reads what earlier tokens of the chunk wrote, damped by the decay of
the tokens between them:

    scores[t, s] = sum_n q[t, n] k[s, n] exp(sum_{s < j < t} log_decay[j, n])        for s < t

Taking the exponential of the prefix sums apart, exp(P_t) exp(-P_s), overflows for a strong
decay. Here a chunk is split in halves, again and again: for t in the second half and s in the
first, the sum is cut at the middle into two parts that are both <= 0,

    sum_{s < j < t} = sum_{s < j < middle}  +  sum_{middle <= j < t}
                      ("after" s)              ("before" t)

so that one matrix product per level gives the exact scores at any decay. Going from blocks of m
to blocks of 2m tokens, "before" and "after" only have a block's total added to them: no
difference of large sums is ever formed, and nothing can overflow. Where no token of the input
decays by more than exp(-2), which RWKV-7's never do, the smallest blocks have 16 tokens: there
exp(P_t - P_middle) exp(P_middle - P_s) stays below exp(32) and is as exact.

RWKV-7 needs the vectors u_t = S_{t-1} a_t that each token takes out of the state. They depend on
one another within the chunk, which is a unit lower triangular system (the WY or UT form of
products of rank-one updates; Yang et al. 2024, "Parallelizing Linear Transformers with the Delta
Rule"):

    U = A S_0^T + (a,b scores) U + (a,k scores) V

Chunks are tied together by their states: that loop is the only one left.

Documents in one row are laid out so that each begins with a chunk of its own (`wkv.layout`); then
a fresh state takes the running one's place between two chunks, and nothing else changes.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from eyas.wkv.layout import Layout, lay_out
from eyas.wkv.reference import Fresh, Heads, Starts, State, begun

_WEAK_BLOCK, _WEAKEST = 16, -2.0


class _Scores(NamedTuple):
    matrix: Tensor  # [..., C, Q, C, K]: scores of Q queries with K keys per token, 0 for s >= t
    before: Tensor  # [..., C, N]: summed log-decay of the chunk's tokens before this one
    after: Tensor  # [..., C, N]: of those after this one
    total: Tensor  # [..., 1, N]: of the whole chunk


def wkv6(
    r: Heads,
    log_decay: Heads,
    k: Heads,
    v: Heads,
    bonus: Float[Tensor, "H N"],
    state: State,
    starts: Starts = None,
    fresh: Fresh = None,
) -> tuple[Heads, State]:
    """The RWKV-6 recurrence; see the package for shapes and types."""
    layout = lay_out(r, starts)
    q, w, k_, v_ = (_chunks(x, state, layout) for x in (r, log_decay, k, v))
    scores, before, after, total = _scores(q[..., None, :], k_[..., None, :], w)
    own = (q * k_ * bonus.to(state)[:, None, None, :]).sum(-1, keepdim=True)
    written = v_.mT @ (k_ * after.exp())

    befores = []
    steps = zip(layout.begins, total.exp().unbind(2), written.unbind(2), strict=True)
    for begins, decay, update in steps:
        state = begun(state, begins, fresh)
        befores.append(state)
        state = state * decay + update
    carried = (q * before.exp()) @ torch.stack(befores, dim=2).mT
    out = scores[..., 0, :, 0] @ v_ + own * v_ + carried
    return _tokens(out, r, layout), state


def wkv7(
    r: Heads,
    log_decay: Heads,
    k: Heads,
    v: Heads,
    a: Heads,
    b: Heads,
    state: State,
    starts: Starts = None,
    fresh: Fresh = None,
) -> tuple[Heads, State]:
    """The RWKV-7 recurrence; see the package for shapes and types."""
    layout = lay_out(r, starts)
    q, w, k_, v_, a_, b_ = (_chunks(x, state, layout) for x in (r, log_decay, k, v, a, b))
    damped = q * w.exp()  # y_t reads the state after token t has decayed it, u_t before
    scores, before, after, total = _scores(
        torch.stack((a_, damped), dim=-2), torch.stack((b_, k_), dim=-2), w
    )
    (ab, ak), (rb, rk) = (row.unbind(-1) for row in scores.unbind(-3))
    kept = before.exp()

    # U = taken S_0^T + added
    system = torch.cat((a_ * kept, ak @ v_), dim=-1)
    solved = torch.linalg.solve_triangular(_unit(-ab), system, upper=False, unitriangular=True)
    taken, added = (x.unbind(2) for x in solved.split(v_.shape[-1], dim=-1))
    left = after.exp()
    b_left, written = (b_ * left).unbind(2), (v_.mT @ (k_ * left)).unbind(2)
    decay, befores, us = total.exp().unbind(2), [], []
    for i, begins in enumerate(layout.begins):
        state = begun(state, begins, fresh)
        befores.append(state)
        us.append(taken[i] @ state.mT + added[i])
        state = state * decay[i] + us[i].mT @ b_left[i] + written[i]

    u = torch.stack(us, dim=2)
    own_b = (q * b_).sum(-1, keepdim=True)
    own_k = (q * k_).sum(-1, keepdim=True)
    carried = (damped * kept) @ torch.stack(befores, dim=2).mT
    out = rb @ u + own_b * u + rk @ v_ + own_k * v_ + carried
    return _tokens(out, r, layout), state


def _scores(q: Float[Tensor, "... C Q N"], k: Float[Tensor, "... C K N"], w: Tensor) -> _Scores:
    """Scores of all pairs of a chunk, by doubling blocks of m = 1, 2, 4, … tokens.

    w: log-decay [..., C, N], C a power of two. On the way every tensor is viewed as
    [..., C / m, m, …]: blocks, and tokens in them.
    """
    length, size = w.shape[-2:]
    lead = w.shape[:-2]
    # A single token asks for no number: no device is waited for.
    m = min(_WEAK_BLOCK, length) if length > 1 and w.amin() >= _WEAKEST else 1
    blocks = _weak_blocks if m > 1 else _single_tokens
    matrix, before, after, total = blocks(
        *(x.unflatten(len(lead), (length // m, m)) for x in (q, k, w))
    )
    while m < length:
        pairs = (*lead, length // (2 * m), 2, m)
        before_1, before_2 = before.view(*pairs, size).unbind(-3)
        after_1, after_2 = after.view(*pairs, size).unbind(-3)
        total_1, total_2 = total.view(*pairs[:-1], 1, size).unbind(-3)
        queries = q.view(*pairs, *q.shape[-2:]).unbind(-4)[1] * before_2.exp()[..., None, :]
        keys = k.view(*pairs, *k.shape[-2:]).unbind(-4)[0] * after_1.exp()[..., None, :]
        cross = queries.flatten(-3, -2) @ keys.flatten(-3, -2).mT
        matrix = _join(matrix, cross.view(*pairs[:-2], m, q.shape[-2], m, k.shape[-2]))
        before = torch.cat((before_1, before_2 + total_1), dim=-2)
        after = torch.cat((after_1 + total_2, after_2), dim=-2)
        total = total_1 + total_2
        m *= 2
    return _Scores(
        matrix.view(*lead, length, q.shape[-2], length, k.shape[-2]),
        before.view_as(w),
        after.view_as(w),
        total.view(*lead, 1, size),
    )


def _single_tokens(q: Tensor, k: Tensor, w: Tensor) -> _Scores:
    """Blocks of one token, in which no token reads an earlier one."""
    matrix = w.new_zeros(*w.shape[:-1], q.shape[-2], 1, k.shape[-2])
    nothing = torch.zeros_like(w)
    return _Scores(matrix, nothing, nothing, w)


def _weak_blocks(q: Tensor, k: Tensor, w: Tensor) -> _Scores:
    """Scores within blocks of tokens that decay little."""
    m = w.shape[-2]
    before = w.cumsum(-2) - w
    total = w.sum(-2, keepdim=True)
    after = total - before - w
    middle = before[..., m // 2 : m // 2 + 1, :]
    queries = q * (before - middle).exp()[..., None, :]
    keys = k * (middle - before - w).exp()[..., None, :]
    products = queries.flatten(-3, -2) @ keys.flatten(-3, -2).mT
    matrix = products.unflatten(-1, k.shape[-3:-1]).unflatten(-3, q.shape[-3:-1])
    earlier = torch.ones(m, m, dtype=torch.bool, device=w.device).tril(-1)
    return _Scores(matrix.masked_fill(~earlier[:, None, :, None], 0), before, after, total)


def _join(matrix: Tensor, cross: Tensor) -> Tensor:
    """Blocks [..., 2 n, m, Q, m, K] and their cross scores -> [..., n, 2 m, Q, 2 m, K]."""
    shape = (*cross.shape[:-4], 2, *cross.shape[-4:])
    first, second = matrix.view(shape).unbind(-5)
    top = torch.cat((first, torch.zeros_like(cross)), dim=-2)
    bottom = torch.cat((cross, second), dim=-2)
    return torch.cat((top, bottom), dim=-4)


def _unit(strict: Tensor) -> Tensor:
    """A strictly lower triangular matrix with ones put on its diagonal."""
    return strict + torch.eye(strict.shape[-1], dtype=strict.dtype, device=strict.device)


def _chunks(x: Heads, state: State, layout: Layout) -> Float[Tensor, "B H n C N"]:
    """x in the state's type, cut in chunks, filled up with tokens that change nothing."""
    batch, _, heads, size = x.shape
    x = layout.spread(x.to(state))
    return x.view(batch, -1, layout.chunk, heads, size).permute(0, 3, 1, 2, 4).contiguous()


def _tokens(out: Float[Tensor, "B H n C N"], like: Heads, layout: Layout) -> Heads:
    return layout.collected(out.permute(0, 2, 3, 1, 4).flatten(1, 2)).to(like)
