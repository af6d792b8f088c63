"""The recurrences in Triton, on CUDA: the kernels of `fla-core` (flash-linear-attention).

A row in which documents begin is handed over as one sequence for each of them (`cu_seqlens`), the
fresh state copied for each. State tensors there are [sequence, H, key, value].

Which kernels serve:

    chunked      wherever a gradient is wanted, and for long inputs. There is nothing to choose by
                 a timing: `fused_recurrent_rwkv6` leaves out the gradient of the final state, and
                 `fused_recurrent_rwkv7` has no backward.
    recurrent    up to 32 tokens without a gradient: generating. Exact in float32 too.
    none         `native` serves, which leaves what is not on the CPU to `chunked`: tensors on no
                 CUDA device, a state in float64, head sizes outside 16..256, no tokens; and
                 float32 that the chunked kernels would round to TF32, unless that is allowed
                 (`torch.set_float32_matmul_precision`).

In bfloat16 and float16 RWKV-7 goes in chunks of 64 tokens, for which a decay must not be stronger
than exp(-2.6) a token; RWKV-7's are exp(-0.61) or weaker. These kernels invert their triangular
systems in float16, so float32 keeps to chunks of 16, which know no such bound. RWKV-6's may decay
at any rate; the gradient of its log-decay is a difference of sums, whose float32 error at decays
around exp(-20) a token was 2e-6 of the largest gradient.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from eyas.wkv import native
from eyas.wkv.reference import Fresh, Heads, Starts, State

Kernels = Literal["chunked", "recurrent", "none"]
Run = TypeVar("Run", bound=Callable[..., Any])

_NARROW = (torch.bfloat16, torch.float16)
_HEAD_SIZES = range(16, 257)
_SHORT = 32  # tokens
_STRONGEST = -0.61  # RWKV-7's log-decay is at least -exp(-0.5)


class _Documents(NamedTuple):
    """The sequences that rows are cut into where documents begin, one row after the other."""

    bounds: Int64[Tensor, " D"]  # among the tokens of all rows; the last one is their number
    bounds_on_cpu: Int64[Tensor, " D"]
    rows: Int64[Tensor, " S"]  # in which row each sequence lies
    afresh: Bool[Tensor, " S"]  # whether a document begins with it, or the row's state goes on
    last: Int64[Tensor, " B"]  # the last sequence of each row


def installed() -> bool:
    """Whether the kernels are here, with the compiler that they need."""
    return all(map(find_spec, ("fla", "triton")))


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
    kernels = _kernels(r, starts, log_decay, k, v, bonus, state)
    if kernels == "none":
        return native.wkv6(r, log_decay, k, v, bonus, state, starts, fresh)
    from fla.ops.rwkv6 import chunk_rwkv6, fused_recurrent_rwkv6

    operator = fused_recurrent_rwkv6 if kernels == "recurrent" else chunk_rwkv6
    given = {"r": r, "k": k.to(r), "v": v.to(r), "w": log_decay.float()}
    result: tuple[Heads, State] = _run(partial(operator, u=bonus), given, state, starts, fresh)
    return result


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
    kernels = _kernels(r, starts, log_decay, k, v, a, b, state)
    if kernels == "none":
        return native.wkv7(r, log_decay, k, v, a, b, state, starts, fresh)
    from fla.ops.rwkv7 import chunk_rwkv7, fused_recurrent_rwkv7

    operator = fused_recurrent_rwkv7
    if kernels == "chunked":
        operator = partial(chunk_rwkv7, lower_bound=_STRONGEST if r.dtype in _NARROW else None)
    given = {"r": r, "w": log_decay.float(), "k": k.to(r), "v": v.to(r), "a": a.to(r), "b": b.to(r)}
    result: tuple[Heads, State] = _run(operator, given, state, starts, fresh)
    return result


def _kernels(r: Heads, starts: Starts, *others: Tensor) -> Kernels:
    """Which of them serve these tensors, of which the state is the last."""
    if not (_device_suits(r) and r.numel() and r.shape[-1] in _HEAD_SIZES):
        return "none"
    if others[-1].dtype != torch.float32 or r.dtype not in (torch.float32, *_NARROW):
        return "none"
    differentiated = torch.is_grad_enabled() and any(x.requires_grad for x in (r, *others))
    if r.shape[1] <= _SHORT and starts is None and not differentiated:
        return "recurrent"
    exact = r.dtype == torch.float32 and torch.get_float32_matmul_precision() == "highest"
    return "none" if exact else "chunked"


def _device_suits(x: Tensor) -> bool:
    return x.is_cuda


def _left_out_of_compiling(run: Run) -> Run:
    """The decorator imports the compiler, which takes a second: only where the kernels serve."""
    if not torch.cuda.is_available():
        return run
    apart: Run = torch.compiler.disable(run)
    return apart


@_left_out_of_compiling
def _run(
    operator: Callable[..., tuple[Tensor, Tensor]],
    given: dict[str, Tensor],
    state: State,
    starts: Starts,
    fresh: Fresh,
) -> tuple[Heads, State]:
    settings: dict[str, Any] = {"scale": 1.0, "output_final_state": True}
    r = given["r"]
    if starts is None:
        out, last = operator(**given, initial_state=state.mT, **settings)
        return out.to(r), last.mT
    documents = _documents(starts)
    out, last = operator(
        **{name: x.flatten(0, 1)[None] for name, x in given.items()},
        initial_state=_states_before(state, fresh, documents).mT,
        cu_seqlens=documents.bounds,
        cu_seqlens_cpu=documents.bounds_on_cpu,
        **settings,
    )
    return out.view_as(r).to(r), last.index_select(0, documents.last).mT


def _states_before(state: State, fresh: Fresh, documents: _Documents) -> Float[Tensor, "S H N N"]:
    """The state that each sequence begins with."""
    going_on = state.index_select(0, documents.rows)
    other = torch.zeros_like(going_on) if fresh is None else fresh.to(state)
    return torch.where(documents.afresh[:, None, None, None], other, going_on)


# The layers of a model ask one after the other about the same tensor, and each answer makes the
# CPU wait for the device: the last ones are kept. Tensors are keys by identity.
@lru_cache(maxsize=2)
def _documents(starts: Bool[Tensor, "B T"]) -> _Documents:
    batch, length = starts.shape
    begins = starts.cpu()
    cut = begins.clone()
    cut[:, 0] = True
    rows, tokens = cut.nonzero(as_tuple=True)
    bounds = torch.cat((rows * length + tokens, torch.tensor([batch * length])))
    last = cut.sum(1).cumsum(0) - 1
    parts = (rows, begins[rows, tokens], last)
    return _Documents(bounds.to(starts.device), bounds, *(part.to(starts.device) for part in parts))
