"""The WKV operators: the linear recurrences at the heart of RWKV.

A backend is a module with two functions of the same contract, `wkv6` and `wkv7`, differentiable
in every argument, the state included; RWKV-5 is `wkv6` with a decay that does not depend on time:

    wkv6(r, log_decay, k, v, bonus, state) -> (out, state)
    wkv7(r, log_decay, k, v, a, b, state) -> (out, state)

`r, log_decay, k, v, a, b, out`: [B, T, H, N]; `bonus`: [H, N]; `state`: [B, H, N, N], laid out
[value, key]. `log_decay` is <= 0. Arithmetic is done in the state's type, float32 at least;
`out` has the type of `r`.
"""

from typing import Protocol, runtime_checkable

from torch import Tensor

from eyas.wkv import chunked, reference

__all__ = ["Backend", "chunked", "reference"]


@runtime_checkable
class Backend(Protocol):
    """What a module of operators offers; modules satisfy it as they are."""

    def wkv6(
        self, r: Tensor, log_decay: Tensor, k: Tensor, v: Tensor, bonus: Tensor, state: Tensor
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
    ) -> tuple[Tensor, Tensor]: ...
