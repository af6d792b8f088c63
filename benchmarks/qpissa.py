"""What factors make good of what nf4 loses: QLoRA, LoftQ and QPiSSA on a model's matrices.

python benchmarks/qpissa.py [MODEL ...] [--ranks 8,32] [--out FILE.json] [--threads N]

MODEL: a .pth or .safetensors; every matrix of 128 by 128 and more counts, but for embedding and
head. By default the embedded base. Error is |W - (dequantize(Q) + B A)| over |W|, in the Frobenius
norm; "less by" is the reduction in nuclear norm against nf4 alone (PiSSA, section 4).
"""

import argparse
from pathlib import Path
from statistics import mean

import torch
from report import save, show
from torch import Tensor

import eyas
from eyas.adapters import LoftQ, PiSSA
from eyas.adapters.residual import residual
from eyas.models import read_tensors
from eyas.quant import NF4

BASE = Path(eyas.__file__).parent / "demo" / "base.pth"
QUANTIZER = NF4()
METHODS = {
    "LoftQ T = 1": lambda rank: LoftQ(rank, quant_iterations=1),
    "LoftQ T = 5": lambda rank: LoftQ(rank, quant_iterations=5),
    "QPiSSA T = 1": lambda rank: PiSSA(rank, quant_iterations=1),
    "QPiSSA T = 5": lambda rank: PiSSA(rank, quant_iterations=5),
    "QPiSSA T = 10": lambda rank: PiSSA(rank, quant_iterations=10),
}


def rebuilt(codes: dict[str, Tensor], like: Tensor) -> Tensor:
    return QUANTIZER.dequantize(codes, (like.shape[0], like.shape[1]))


def with_factors(weight: Tensor, method: PiSSA | LoftQ, seed: int) -> Tensor:
    """What the layer stands for at the start: dequantized codes and the product of the factors."""
    start = method.start(weight, torch.Generator().manual_seed(seed), QUANTIZER)
    codes = QUANTIZER.quantize(residual(weight, start["residual_A"], start["residual_B"]))
    return rebuilt(codes, weight) + start["lora_B"] @ start["lora_A"]


def nuclear(matrix: Tensor) -> float:
    return torch.linalg.svdvals(matrix).sum().item()


def rows(model: Path, rank: int) -> list[dict[str, object]]:
    tensors = read_tensors(model)
    weights = [
        tensor.float()
        for name, tensor in tensors.items()
        if tensor.dim() == 2 and min(tensor.shape) >= 128 and not is_end(name)
    ]
    plain = [rebuilt(QUANTIZER.quantize(w), w) - w for w in weights]
    found = {"nf4 alone (QLoRA)": plain}
    for name, make in METHODS.items():
        found[name] = [with_factors(w, make(rank), i) - w for i, w in enumerate(weights)]
    before = [nuclear(error) for error in plain]
    return [
        {
            "model": model.stem,
            "rank": rank,
            "method": name,
            "error": mean(
                (e.norm() / w.norm()).item() for e, w in zip(errors, weights, strict=True)
            ),
            "less_by": mean(1 - nuclear(e) / b for e, b in zip(errors, before, strict=True)),
        }
        for name, errors in found.items()
    ]


def is_end(name: str) -> bool:
    return any(part in name for part in ("emb", "head", "pooler"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path, default=[BASE], metavar="MODEL")
    parser.add_argument("--ranks", default="8,32")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/qpissa.json"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    ranks = [int(rank) for rank in given.ranks.split(",")]
    table = [row for model in given.models for rank in ranks for row in rows(model, rank)]
    show("nf4 and factors", table)
    save(given.out, given.threads, rows=table)


if __name__ == "__main__":
    main()
