"""The operators: fla's and the chunked one, their error, and where the recurrent kernel ends."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from timing import Row, Setting, each, seconds
from torch import Tensor
from torch.nn.functional import normalize

from eyas import wkv

NAMES = ("wkv7", "wkv6")
SIZES = [(1, 1024, 32), (1, 8192, 32), (8, 1024, 32), (1, 4096, 64)]  # B, T, H


def inputs(name: str, size: tuple[int, int, int], setting: Setting) -> list[Tensor]:
    """What the operator takes, in its order; decay and state in float32."""
    batch, length, heads = size
    shape = (batch, length, heads, 64)
    g = torch.Generator(setting.device).manual_seed(0)
    r, k, v, x, y, z = torch.randn(6, *shape, generator=g, device=setting.device)
    removal = normalize(y, dim=-1)
    own = [torch.ones_like(r[0, 0])] if name == "wkv6" else [-removal, removal * z.sigmoid()]
    r, k, v, *own = (t.to(setting.dtype) for t in (r, k / 8, v, *own))
    decay = -(x - 2).exp() if name == "wkv6" else -0.6065 * x.sigmoid()
    state = torch.zeros(batch, heads, 64, 64, device=setting.device)
    return [r, decay, k, v, *own, state]


def both_ways(operator: Callable[..., tuple[Tensor, Tensor]], args: list[Tensor]) -> list[Tensor]:
    """Outputs and the gradients of their sum."""
    leaves = [arg.detach().requires_grad_() for arg in args]
    found = operator(*leaves)
    return [*found, *torch.autograd.grad([x.sum() for x in found], leaves)]


def relative_error(found: list[Tensor], exact: list[Tensor]) -> float:
    """The largest of all outputs and gradients, each in its 2-norm."""
    pairs = zip(found, exact, strict=True)
    return max(((a.double() - b).norm() / b.norm().clamp(min=1e-30)).item() for a, b in pairs)


def case(name: str, size: tuple[int, int, int], setting: Setting) -> Row:
    args = inputs(name, size, setting)
    chunked, fla = (getattr(backend, name) for backend in (wkv.chunked, wkv.fla))
    row: dict[str, object] = {
        "chunked_ms": 1000 * seconds(partial(both_ways, chunked, args), setting, 3),
        "fla_ms": 1000 * seconds(partial(both_ways, fla, args), setting),
    }
    row["chunked_over_fla"] = row["chunked_ms"] / row["fla_ms"]  # type: ignore[operator]
    if size[0] * size[1] <= 1024:
        exact = both_ways(chunked, [x.double() for x in args])
        row["fla_error"] = relative_error(both_ways(fla, args), exact)
        row["chunked_error"] = relative_error(both_ways(chunked, args), exact)
    return row


@torch.inference_mode()
def generating(name: str, length: int, setting: Setting) -> Row:
    """Without a gradient; where the recurrent kernel stops paying is `_SHORT` in eyas.wkv.fla."""
    from fla.ops import rwkv6, rwkv7

    module = {"wkv6": rwkv6, "wkv7": rwkv7}[name]
    r, w, k, v, *own, state = inputs(name, (1, length, 32), setting)
    keys = ("u",) if name == "wkv6" else ("a", "b")
    given = {"r": r, "w": w, "k": k, "v": v, **dict(zip(keys, own, strict=True))}
    given |= {"initial_state": state, "output_final_state": True, "scale": 1.0}
    bound = {"lower_bound": -0.61} if name == "wkv7" else {}
    recurrent = partial(getattr(module, f"fused_recurrent_r{name[1:]}"), **given)
    chunked = partial(getattr(module, f"chunk_r{name[1:]}"), **given, **bound)
    return {
        "recurrent_ms": 1000 * seconds(recurrent, setting),
        "chunked_ms": 1000 * seconds(chunked, setting),
    }


def measured(setting: Setting) -> Iterator[Row]:
    sizes = [(1, 32, 1)] if setting.dry else SIZES
    cases = {
        f"{name} B{size[0]} T{size[1]} H{size[2]}": partial(case, name, size, setting)
        for size in sizes
        for name in NAMES
    }
    if setting.device.type == "cuda":
        cases |= {
            f"{name} T{length}, no gradient": partial(generating, name, length, setting)
            for length in (1, 16, 32, 64, 128)
            for name in NAMES
        }
    yield from each(cases, setting)
