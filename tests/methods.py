"""Every method with small settings, and the bases that it goes over."""

from dataclasses import fields

import torch

from eyas.adapters import METHODS, Bat, Full, LoftQ, LoRA, State, attach
from eyas.models import load
from eyas.quant import FrozenConfig

_RANK = {"rank": 4}
SMALL = [
    *(cls(**(_RANK if any(f.name == "rank" for f in fields(cls)) else {})) for cls in METHODS),
    LoRA(rank=4, alpha=6.0, rslora=True),
    Bat(rank=4, blocks="out"),
]
LAYERED = [method for method in SMALL if not isinstance(method, (Full, State))]
QUANTS = ["none", "int8", "nf4"]
TOKENS = torch.arange(40)[None] % 256


def name_of(method):
    special = {SMALL[-2]: "rslora", SMALL[-1]: "bat-out"}
    return special.get(method, method.name)


def over(method, quant):
    """Whether the method has anything to do over such a base."""
    return quant != "none" if isinstance(method, LoftQ) else quant == "none" or method != Full()


def combined(methods):
    """Parameters of a test: each method over each base that suits it."""
    return [(m, q) for m in methods for q in QUANTS if over(m, q)]


def ids(pairs):
    return [f"{name_of(m)}-{q}" for m, q in pairs]


def dense_start(method):
    """The base that this method starts over without quantization of its own choosing."""
    return "none" if over(method, "none") else "nf4"


def attached(path, method, quant="none", parts=(), seed=0):
    model = load(path)
    attach(model, method, train_parts=parts, seed=seed, frozen=FrozenConfig(quant=quant))
    return model


def disturb(model, change=0.02):
    """Moves everything that trains, as training would."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad and change:
            parameter.data += change * torch.randn_like(parameter)
    return model.eval()
