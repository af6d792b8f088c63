"""The WKV operators: the linear recurrences at the heart of RWKV.

A backend is a module with two functions of the same contract, `wkv6` and `wkv7`, differentiable
in every argument, the state included; RWKV-5 is `wkv6` with a decay that does not depend on time:

    wkv6(r, log_decay, k, v, bonus, state, starts=None, fresh=None) -> (out, state)
    wkv7(r, log_decay, k, v, a, b, state, starts=None, fresh=None) -> (out, state)

`r, log_decay, k, v, a, b, out`: [B, T, H, N]; `bonus`: [H, N]; `state`: [B, H, N, N], laid out
[value, key]. `log_decay` is <= 0. Arithmetic is done in the state's type, float32 at least;
`out` has the type of `r`.

Documents may lie end to end in a row: where `starts` [B, T] is true, token t begins another one,
and before it the state becomes `fresh` [H, N, N], or zero where that is not given. (Zeroing the
decay would not do: RWKV-6 reads the old state before it decays, RWKV-7 through a b^T.) The state
handed back is that after the last token.
"""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from eyas.native import library
from eyas.wkv import chunked, fla, native, reference

__all__ = ["Backend", "chunked", "fastest", "fla", "native", "reference"]


@runtime_checkable
class Backend(Protocol):
    """What a module of operators offers; modules satisfy it as they are."""

    def wkv6(
        self,
        r: Tensor,
        log_decay: Tensor,
        k: Tensor,
        v: Tensor,
        bonus: Tensor,
        state: Tensor,
        starts: Tensor | None = None,
        fresh: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]: ...

    def wkv7(
        self,
        r: Tensor,
        log_decay: Tensor,
        k: Tensor,
        v: Tensor,
        a: Tensor,
        b: Tensor,
        state: Tensor,
        starts: Tensor | None = None,
        fresh: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]: ...


def fastest(device: torch.device | None = None) -> Backend:
    """The backend of a model for which none is chosen, on the device that it will be on.

    `fla` on CUDA where it is installed; else `native` where that is compiled.
    """
    if device is not None and device.type == "cuda" and fla.installed():
        return fla
    return native if library() else chunked
