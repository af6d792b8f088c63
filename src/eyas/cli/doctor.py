"""`eyas doctor`: what this machine is, what eyas uses of it, and how fast that is."""

import time
from collections.abc import Callable, Iterator

import click
import torch
from torch import Tensor
from torch.nn.functional import normalize

from eyas import native, wkv
from eyas.native import operators
from eyas.observe.facts import hardware, versions
from eyas.observe.flops import product_rate
from eyas.observe.summary import print_summary
from eyas.wkv import Backend

_B, _T, _H, _N = 1, 512, 12, 64
_REPEATS = 3


@click.command(short_help="Say what this machine can do, and what is in use.")
def doctor() -> None:
    """Say what this machine is, which parts of eyas are in use, and how fast they are.

    Takes some seconds. Paste the output where you report a problem.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sections = {
        "versions": _listed(versions()),
        "machine": _listed(hardware(device)),
        "in use": _in_use(device),
        "speed": list(_speeds(device)),
    }
    print_summary(sections)


def _listed(facts: dict[str, object]) -> list[str]:
    return [f"{name} {value}" for name, value in facts.items()]


def _in_use(device: torch.device) -> list[str]:
    elsewhere = "chunked on other devices"
    if wkv.fastest(device) is wkv.fla:
        elsewhere = "fla on the GPU"
    elif device.type == "cuda":
        elsewhere = "chunked on the GPU: pip install 'eyas[cuda]' for faster ones"
    if missing := native.missing():
        return [missing, f"WKV operators: chunked on the CPU, {elsewhere}"]
    return [
        f"compiled operators and tokenizer, with {operators.targets()[-1]} instructions",
        f"WKV operators: native on the CPU, {elsewhere}",
    ]


def _speeds(device: torch.device) -> Iterator[str]:
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    rate = product_rate(dtype, device)
    yield f"{str(dtype)[6:]} matrix products on the {device.type}: {rate / 1e9:,.0f} GFLOP/s"
    backends: dict[str, Backend] = {"chunked": wkv.chunked, "reference": wkv.reference}
    if wkv.fastest(device) is wkv.fla:
        backends = {"fla": wkv.fla, **backends}
    elif device.type == "cpu" and not native.missing():
        backends = {"native": wkv.native, **backends}
    for name in ("wkv6", "wkv7"):
        times = {
            backend: _milliseconds(getattr(module, name), name, dtype, device)
            for backend, module in backends.items()
        }
        shown = ", ".join(f"{backend} {taken:,.3g}" for backend, taken in times.items())
        yield f"{name}, forward and backward of {_T} tokens and {_H} heads of {_N}, ms: {shown}"


def _milliseconds(
    operator: Callable[..., tuple[Tensor, Tensor]],
    name: str,
    dtype: torch.dtype,
    device: torch.device,
) -> float:
    """The fastest of some runs."""
    generator = torch.Generator().manual_seed(0)
    r, k, v, x, y, z = torch.randn(6, _B, _T, _H, _N, generator=generator)
    state, log_decay, removal = (
        torch.zeros(_B, _H, _N, _N),
        -0.6 * x.sigmoid(),
        normalize(y, dim=-1),
    )
    own = [torch.ones(_H, _N)] if name == "wkv6" else [-removal, removal * z.sigmoid()]
    r, k, v, *own = (tensor.to(dtype) for tensor in (r, k, v, *own))
    args = [tensor.to(device).requires_grad_() for tensor in (r, log_decay, k, v, *own, state)]
    taken = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        out, _ = operator(*args)
        torch.autograd.grad(out.sum(), args)
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        taken.append(time.perf_counter() - started)
    return 1000 * min(taken)
