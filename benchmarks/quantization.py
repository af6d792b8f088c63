"""Quantizers beside bitsandbytes' own functions: error on a model's matrices, size, and time.

python benchmarks/quantization.py [MODEL] [--out FILE.json] [--threads N] [--tokens N]
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import TypeAlias

import bitsandbytes
import torch
from bitsandbytes import functional as peer
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

import eyas
from eyas.models import read_tensors
from eyas.quant import FP4, NF4, Int8, QuantizedLinear, Quantizer, fastest

BASE = Path(eyas.__file__).parent / "demo" / "base.pth"
Work: TypeAlias = Callable[[], object]
Product: TypeAlias = Callable[[Tensor], Tensor]
SIZES = [(768, 768), (768, 3072), (2560, 8960)]
OWN = {"int8": Int8(), "nf4, scales fp32": NF4(double=False), "nf4": NF4(), "fp4": FP4()}
PEER = {  # the settings of quantize_4bit; None: quantize_blockwise, the nearest to our int8
    "int8": None,
    "nf4, scales fp32": {"quant_type": "nf4", "compress_statistics": False},
    "nf4": {"quant_type": "nf4", "compress_statistics": True},
    "fp4": {"quant_type": "fp4", "compress_statistics": True},
}


def peer_quantize(name: str, weight: Tensor) -> tuple[Tensor, peer.QuantState]:
    settings = PEER[name]
    if settings is None:
        return peer.quantize_blockwise(weight, blocksize=64)
    return peer.quantize_4bit(weight, blocksize=64, **settings)


def peer_dequantize(codes: Tensor, state: peer.QuantState, name: str) -> Tensor:
    return (peer.dequantize_4bit if PEER[name] else peer.dequantize_blockwise)(codes, state)


def peer_bytes(codes: Tensor, state: peer.QuantState) -> int:
    inner = state.state2
    return codes.nbytes + state.absmax.nbytes + (inner.absmax.nbytes + 4 if inner else 0)


def relative(dense: Tensor, weight: Tensor) -> float:
    return ((dense - weight).norm() / weight.norm()).item()


def errors(model: Path) -> list[dict[str, object]]:
    """A row for each quantizer: bytes a parameter, mean and worst error over the matrices."""
    matrices = [
        tensor.float()
        for name, tensor in read_tensors(model).items()
        if name.startswith("blocks.") and name.endswith(".weight") and tensor.dim() == 2
    ]
    count, rows = sum(matrix.numel() for matrix in matrices), []
    for name, quantizer in OWN.items():
        layers = [QuantizedLinear.of(matrix, quantizer) for matrix in matrices]
        sizes = [p.nbytes for layer in layers for p in layer.parameters()]
        off = [relative(layer.dense_weight(), w) for layer, w in zip(layers, matrices, strict=True)]
        rows.append(error_row(f"eyas {name}", sum(sizes) / count, off))
        theirs = [peer_quantize(name, matrix) for matrix in matrices]
        sizes = [peer_bytes(*pair) for pair in theirs]
        dense = [peer_dequantize(*pair, name) for pair in theirs]
        off = [relative(*pair) for pair in zip(dense, matrices, strict=True)]
        rows.append(error_row(f"bitsandbytes {name}", sum(sizes) / count, off))
    return rows


def error_row(name: str, size: float, off: list[float]) -> dict[str, object]:
    return {
        "quantizer": name,
        "bytes per parameter": round(size, 3),
        "mean error %": round(100 * mean(off), 2),
        "worst error %": round(100 * max(off), 2),
    }


def times(size: tuple[int, int], tokens: int) -> list[dict[str, object]]:
    """A row for each layer: milliseconds to quantize, dequantize, go forward and back."""
    weight = 0.02 * torch.randn(size, generator=torch.Generator().manual_seed(0))
    x = torch.randn(tokens, size[1]).requires_grad_()
    upstream = torch.randn(tokens, size[0])
    work: dict[str, dict[str, Work]] = {"quantize": {}, "dequantize": {}, "forward + backward": {}}

    def add(name: str, quantize: Work, dequantize: Work, product: Product | None) -> None:
        work["quantize"][name], work["dequantize"][name] = quantize, dequantize
        if product:
            work["forward + backward"][name] = lambda: product(x).backward(upstream)

    def add_own(name: str, quantizer: Quantizer) -> None:
        layer = QuantizedLinear.of(weight, quantizer)
        add(name, lambda: quantizer.quantize(weight), layer.dense_weight, layer)

    def add_peer(name: str, has_layer: bool) -> None:
        codes, state = peer_quantize(name, weight)
        product = (lambda x: bitsandbytes.matmul_4bit(x, codes.t(), state)) if has_layer else None
        dequantize = lambda: peer_dequantize(codes, state, name)  # noqa: E731
        add(f"bitsandbytes {name}", lambda: peer_quantize(name, weight), dequantize, product)

    work["forward + backward"]["dense"] = lambda: F.linear(x, weight).backward(upstream)
    add_own("eyas int8", OWN["int8"])
    add_peer("int8", has_layer=False)
    add_own("eyas nf4", OWN["nf4"])
    add_own("eyas nf4, fastest", fastest(OWN["nf4"], torch.device("cpu")))
    add_peer("nf4", has_layer=True)
    taken = {kind: milliseconds(functions) for kind, functions in work.items()}
    return [
        {"size": f"{size[0]}x{size[1]}", "layer": name}
        | {kind: of_kind.get(name) for kind, of_kind in taken.items()}
        for name in taken["forward + backward"] | taken["quantize"]
    ]


def milliseconds(functions: dict[str, Work], rounds: int = 9) -> dict[str, float]:
    """The shortest of some runs of each, in turn, after one to warm up."""
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            taken[name].append(time.perf_counter() - start)
    return {name: round(1000 * min(runs[1:]), 2) for name, runs in taken.items()}


def show(title: str, rows: list[dict[str, object]]) -> None:
    table = Table(title=title)
    for column in rows[0]:
        table.add_column(column, justify="left" if column in ("quantizer", "layer") else "right")
    for row in rows:
        table.add_row(*("-" if value is None else str(value) for value in row.values()))
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", nargs="?", type=Path, default=BASE)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=512)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    error_rows = errors(options.model)
    show(f"Error on the matrices of {options.model.name}", error_rows)
    time_rows = [row for size in SIZES for row in times(size, options.tokens)]
    show(f"Milliseconds, float32, {options.threads} thread(s), {options.tokens} tokens", time_rows)
    if options.out:
        about = {"torch": torch.__version__, "bitsandbytes": bitsandbytes.__version__}
        about |= {"threads": options.threads, "tokens": options.tokens}
        report = {"about": about, "errors": error_rows, "milliseconds": time_rows}
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
