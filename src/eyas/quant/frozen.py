"""How the frozen part of a model is kept: in what type, quantized or not, and where."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import nn

from eyas.errors import UserError
from eyas.freed import freeing
from eyas.models import Linear, Model
from eyas.quant.bitsandbytes import fastest
from eyas.quant.int8 import Int8
from eyas.quant.linear import QuantizedLinear, Quantizer
from eyas.quant.nf4 import FP4, NF4

_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

QUANTIZERS: dict[str, Quantizer] = {
    "int8": Int8(),
    "nf4": NF4(),
    "fp4": FP4(),
    "4bit": FP4(),  # RWKV-PEFT's name for it
}


@dataclass(frozen=True)
class FrozenConfig:
    """What the weights that do not train are kept as."""

    storage: Annotated[
        Literal["file", "fp32", "bf16", "fp16"], "type of the weights; file: as in the model"
    ] = "file"
    quant: Annotated[
        Literal["none", "int8", "nf4", "fp4", "4bit"], "quantizes the frozen linears of the blocks"
    ] = "none"
    quant_head: Annotated[bool, "keeps the frozen head as int8 too"] = False
    embedding_on_cpu: Annotated[bool, "leaves the embedding in main memory"] = False

    def quantizer(self, device: torch.device | None = None) -> Quantizer | None:
        """That of the blocks' linears, with the fastest kernel there is for that device."""
        if self.quant == "none":
            return None
        return fastest(QUANTIZERS[self.quant], device or torch.device("cpu"))


def cast_frozen(model: Model, config: FrozenConfig) -> None:
    """Puts the weights that do not train into the storage type; codes and scales stay."""
    if config.storage == "file":
        return
    for module in model.modules():
        if isinstance(module, QuantizedLinear):
            continue
        for name, parameter in list(module.named_parameters(recurse=False)):
            if not parameter.requires_grad:
                stored = parameter.detach().to(_TYPES[config.storage])
                setattr(module, name, nn.Parameter(stored, requires_grad=False))


def place(model: Model, config: FrozenConfig, device: torch.device) -> None:
    """Moves the model to the device, but for what is to stay in main memory."""
    for name, part in model.named_children():
        if name != "emb" or not config.embedding_on_cpu:
            part.to(device)


def quantize_frozen(model: Model, config: FrozenConfig, device: torch.device | None = None) -> None:
    """Quantizes the linears that are frozen, and not yet quantized, one by one.

    device: where that is computed. Raises UserError where nothing is left to quantize.
    """
    quantizer = config.quantizer(device)
    give_back = freeing(torch.device("cpu"))
    if quantizer:
        for path, linear in model.linears():
            if not linear.weight.requires_grad:
                _quantize(model, path, quantizer, device)
                give_back()
        if not any(isinstance(module, QuantizedLinear) for module in model.modules()):
            raise UserError(
                f"--quant {config.quant}: every linear is trained, so none is left to quantize; "
                "leave --quant out, or train an adapter"
            )
        _leave_the_file(model)
    if config.quant_head:
        if model.head.weight.requires_grad:
            raise UserError("--quant-head: the head is trained; leave one of the two out")
        _quantize(model, "head", Int8(), device)


def _leave_the_file(model: Model) -> None:
    """Copies what is left of the memory-mapped file, so that its dense weights are let go."""
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if not parameter.requires_grad and not isinstance(module, QuantizedLinear):
                kept = nn.Parameter(parameter.detach().clone(), requires_grad=False)
                setattr(module, name, kept)


def _quantize(model: Model, path: str, quantizer: Quantizer, device: torch.device | None) -> None:
    linear = model.get_submodule(path)
    assert isinstance(linear, Linear)
    weight = linear.dense_weight().to(device, torch.float32)
    layer = QuantizedLinear.of(weight, quantizer).to(linear.weight.device)
    model.set_submodule(path, layer)
