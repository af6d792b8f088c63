"""The recurrences as the papers write them, one token after the other.

This is the readable form that every faster backend is tested against.

RWKV-6 (Peng et al. 2024, "Eagle and Finch", section 4.2), with S laid out [value, key]:

    y_t = (S_{t-1} + v_t (u * k_t)^T) r_t
    S_t = S_{t-1} diag(w_t) + v_t k_t^T

RWKV-7 (Peng et al. 2025, "Goose", section 4.1):

    S_t = S_{t-1} diag(w_t) + (S_{t-1} a_t) b_t^T + v_t k_t^T
    y_t = S_t r_t

where w_t = exp(log_decay_t), and S_{t-1} is the fresh state where token t begins a document.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Heads = Float[Tensor, "B T H N"]
State = Float[Tensor, "B H N N"]
Starts = Bool[Tensor, "B T"] | None
Fresh = Float[Tensor, "H N N"] | None


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
    steps = zip(*(_tokens(x, state) for x in (r, log_decay.to(state).exp(), k, v)), strict=True)
    u, out = bonus.to(state), []
    for begins, (r_t, w_t, k_t, v_t) in zip(_begins(r, starts), steps, strict=True):
        state = begun(state, begins, fresh)
        out.append(_read(state, r_t) + v_t * (r_t * u * k_t).sum(-1, keepdim=True))
        state = state * w_t[..., None, :] + v_t[..., :, None] * k_t[..., None, :]
    return torch.stack(out, dim=1).to(r), state


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
    steps = zip(
        *(_tokens(x, state) for x in (r, log_decay.to(state).exp(), k, v, a, b)), strict=True
    )
    out = []
    for begins, (r_t, w_t, k_t, v_t, a_t, b_t) in zip(_begins(r, starts), steps, strict=True):
        state = begun(state, begins, fresh)
        removed = _read(state, a_t)
        state = (
            state * w_t[..., None, :]
            + removed[..., :, None] * b_t[..., None, :]
            + v_t[..., :, None] * k_t[..., None, :]
        )
        out.append(_read(state, r_t))
    return torch.stack(out, dim=1).to(r), state


def begun(state: State, begins: Bool[Tensor, " B"] | None, fresh: Fresh) -> State:
    """The state, replaced in the rows where a document begins."""
    if begins is None:
        return state
    other = torch.zeros_like(state) if fresh is None else fresh.to(state)
    return torch.where(begins[:, None, None, None], other, state)


def _begins(r: Heads, starts: Starts) -> Iterator[Tensor | None]:
    """For each token, in which rows it begins a document; None where in none."""
    if starts is None:
        yield from [None] * r.shape[1]
        return
    for column, some in zip(starts.unbind(1), starts.any(0).tolist(), strict=True):
        yield column if some else None


def _tokens(x: Heads, state: State) -> tuple[Tensor, ...]:
    """x as T tensors [B, H, N] in the state's type.

    `unbind` and not indexing: the gradient of `x[:, t]` is a zero-filled tensor of x's size per
    token, which makes the backward quadratic in T.
    """
    return x.to(state).unbind(1)


def _read(state: State, key: Float[Tensor, "B H N"]) -> Float[Tensor, "B H N"]:
    return (state @ key[..., None])[..., 0]
