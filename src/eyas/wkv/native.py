"""The recurrences compiled (`eyas.native`): token by token, with the state in the cache.

Exact at any decay, for any head size and length. For the backward the state of every 16th token is
kept, and those between are computed again. Threads share out the heads of all rows; the results
do not depend on their number.

For tensors on a CPU, in float32 or float64, which is the state's type; others go to `chunked`.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from eyas.native import operators
from eyas.wkv import chunked
from eyas.wkv.reference import Fresh, Heads, Starts, State

_TYPES = (torch.float32, torch.float64)


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
    if not _can(state):
        return chunked.wkv6(r, log_decay, k, v, bonus, state, starts, fresh)
    r_, w_, k_, v_ = (x.to(state) for x in (r, log_decay, k, v))
    out, last = _apply(6, r_, w_, k_, v_, None, None, bonus.to(state), state, starts, fresh)
    return out.to(r), last


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
    if not _can(state):
        return chunked.wkv7(r, log_decay, k, v, a, b, state, starts, fresh)
    r_, w_, k_, v_, a_, b_ = (x.to(state) for x in (r, log_decay, k, v, a, b))
    out, last = _apply(7, r_, w_, k_, v_, a_, b_, None, state, starts, fresh)
    return out.to(r), last


def _apply(version: int, *tensors: Tensor | None) -> tuple[Heads, State]:
    keeps = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)
    out, last = _Recurrence.apply(version, keeps, *tensors)
    return out, last


class _Recurrence(torch.autograd.Function):
    """Either of them: RWKV-6 has no a and b, RWKV-7 no bonus."""

    @staticmethod
    def forward(
        ctx: Any,
        version: int,
        keeps: bool,
        r: Heads,
        log_decay: Heads,
        k: Heads,
        v: Heads,
        a: Heads | None,
        b: Heads | None,
        bonus: Tensor | None,
        state: State,
        starts: Starts,
        fresh: Fresh,
    ) -> tuple[Heads, State]:
        fresh = None if starts is None or fresh is None else fresh.to(state)
        given = _contiguous(
            r=r, decay=log_decay.exp(), k=k, v=v, a=a, b=b, bonus=bonus, starts=starts, fresh=fresh
        )
        begun = _contiguous(state=state)
        made = {"out": torch.empty_like(given["r"]), "last": torch.empty_like(begun["state"])}
        if keeps:
            batch, length, heads, size = r.shape
            chunks = -(-length // operators.chunk())
            made["kept"] = r.new_empty(batch, heads, chunks, size, size)
            if version == 7:
                made["u"] = torch.empty_like(given["r"])
            saved = given | {name: made[name] for name in ("kept", "u") if name in made}
            ctx.version, ctx.names = version, list(saved)
            ctx.save_for_backward(*saved.values())
            ctx.set_materialize_grads(False)
        _run(version, given | begun | made, backward=False)
        return made["out"], made["last"]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Heads | None, d_last: State | None) -> tuple[Tensor | None, ...]:
        saved = dict(zip(ctx.names, ctx.saved_tensors, strict=True))
        r, kept = saved["r"], saved["kept"]
        batch, _, heads, size = r.shape
        states = (batch, heads, size, size)
        given = _contiguous(d_out=torch.zeros_like(r) if d_out is None else d_out, d_last=d_last)
        names = ["d_r", "d_log_decay", "d_k", "d_v"] + ["d_a", "d_b"] * (ctx.version == 7)
        made = {name: torch.empty_like(r) for name in names} | {"d_state": kept.new_empty(states)}
        if ctx.version == 6:
            made["d_bonus"] = r.new_zeros(batch, heads, size)
        if "fresh" in saved:
            made["d_fresh"] = r.new_empty(states)
        _run(ctx.version, saved | given | made, backward=True)
        summed = {name: made[name].sum(0) for name in ("d_bonus", "d_fresh") if name in made}
        found = {**made, **summed}
        order = ("r", "log_decay", "k", "v", "a", "b", "bonus", "state", "starts", "fresh")
        return None, None, *(found.get(f"d_{name}") for name in order)


def _can(state: State) -> bool:
    return state.device.type == "cpu" and state.dtype in _TYPES


def _contiguous(**tensors: Tensor | None) -> dict[str, Tensor]:
    """Those that are there."""
    return {name: x.contiguous() for name, x in tensors.items() if x is not None}


def _run(version: int, tensors: dict[str, Tensor], backward: bool) -> None:
    r = tensors["r"]
    batch, length, heads, size = r.shape
    shapes = _shapes(batch, length, heads, size)
    for name, x in tensors.items():  # of wrong ones the library would read other memory
        right = torch.bool if name == "starts" else r.dtype
        assert x.shape == shapes.get(name, r.shape), f"{name} is {tuple(x.shape)}"
        assert (x.dtype, x.device) == (right, r.device), f"{name} is {x.dtype} on {x.device}"
        assert x.is_contiguous(), f"{name} has strides {x.stride()}"
    operators.call(
        (batch, length, heads, size),
        {name: x.data_ptr() for name, x in tensors.items()},
        version,
        r.dtype == torch.float64,
        backward,
        operators.best_target(),
        torch.get_num_threads(),
    )


def _shapes(batch: int, length: int, heads: int, size: int) -> dict[str, tuple[int, ...]]:
    """Of all tensors that are not [B, T, H, N]."""
    states = (batch, heads, size, size)
    shapes = dict.fromkeys(("state", "last", "d_last", "d_state", "d_fresh"), states)
    kept = (batch, heads, -(-length // operators.chunk()), size, size)
    others = {"bonus": (heads, size), "d_bonus": (batch, heads, size), "kept": kept}
    return {**shapes, **others, "fresh": states[1:], "starts": (batch, length)}
