"""An adapter as a LoRA of the dense base, for programs that know nothing else.

What starts from A0, B0 (PiSSA, OLoRA, LoftQ) is one of rank 2 r, in the form that has no
cancellation (see `adapters.lora`):

    B A - B0 A0 = [B - B0 | B0] [A ; A - A0]

MiSS is one of rank r, where S sums the pieces of the input:

    delta[o, i] = D[i mod r, o] = (D^T S)[o, i]        S[j, i] = 1 where i mod r = j, else 0
"""

import dataclasses

import torch
from torch import Tensor

from eyas.adapters import Adapter, LoftQ, LoRA, MiSS, OLoRA, PiSSA
from eyas.adapters.lora import layer_with_start
from eyas.errors import UserError
from eyas.interop.base import Base
from eyas.interop.parts import OWN, Layer, parts_of
from eyas.models import Linear


def as_lora(adapter: Adapter, base: Base | None) -> Adapter:
    """The same change of the dense base's weights, as a LoRA with scale 1.

    base: needed for MiSS alone, whose tensors do not tell how wide a matrix is.
    Raises UserError where the method's change is not of a low rank.
    """
    if isinstance(adapter.method, LoRA):
        return adapter
    if isinstance(adapter.method, MiSS) and base is None:
        raise UserError("miss as a LoRA needs the widths of the base's matrices; add --base")
    if not isinstance(adapter.method, (PiSSA, OLoRA, LoftQ, MiSS)):
        raise UserError(
            f"{adapter.method.name} is no LoRA of any rank; `eyas merge` writes a model with it "
            "that every program can read"
        )

    def pair(path: str, layer: Layer) -> Layer:
        if base is not None and "miss_D" in layer:
            return _summed(layer["miss_D"], base.linears[path].shape[1])
        return difference(layer)

    parts = parts_of(adapter.tensors, OWN).each(pair)
    return dataclasses.replace(
        adapter,
        method=LoRA(rank=parts.rank()),
        tensors=parts.tensors(),
        frozen=dataclasses.replace(adapter.frozen, quant="none", quant_head=False),
        codes="",
    )


def difference(layer: Layer) -> Layer:
    """What training changed, as the factors of a LoRA."""
    with torch.device("meta"):
        below = Linear(layer["lora_A"].shape[1], len(layer["lora_B"]))
    up, down = layer_with_start(below, layer).difference()
    return {"lora_A": down.detach(), "lora_B": up.detach()}


def _summed(D: Tensor, columns: int) -> Layer:
    rank = len(D)
    S = torch.arange(columns) % rank == torch.arange(rank)[:, None]
    return {"lora_A": S.to(D), "lora_B": D.mT.contiguous()}
