"""Models over one base: each a model of its own, whose frozen tensors are the base's.

A base that is quantized to be served is quantized once. An adapter that was trained over the same
codes shares them; one that was trained over others brings them along.
"""

import torch
from torch import nn

from eyas.adapters import AdaptedLinear, Adapter
from eyas.models import Linear, Model, empty_model
from eyas.quant import QuantizedLinear


def sharing(base: Model) -> Model:
    """Another model with the same tensors, not copies, which an adapter can be put into."""
    model = empty_model(base.shape, base.layers()[0].att.backend)
    if hasattr(base.layers()[0].att, "time_state"):
        with torch.device("meta"):
            model.hold_initial_state()
    model.load_state_dict(base.state_dict(), strict=True, assign=True)
    model.dtype = base.dtype
    model.requires_grad_(False)
    model.eval()
    return model


def share(model: Model, base: Model, adapter: Adapter) -> None:
    """Gives the model what the base has become (stored otherwise, quantized), but for what the
    adapter has trained, or quantized otherwise."""
    own = dict(model.named_modules())
    for path, module in base.named_modules():
        there = own[path]
        if not isinstance(module, (Linear, QuantizedLinear)):
            for name, parameter in module.named_parameters(recurse=False):
                if f"{path}.{name}" not in adapter.tensors:
                    setattr(there, name, parameter)
        elif isinstance(there, AdaptedLinear):
            if _may_be(there.base, module):
                there.base = module
        elif f"{path}.weight" not in adapter.tensors and _may_be(there, module):
            model.set_submodule(path, module)


def is_shared(model: Model, base: Model) -> bool:
    """Whether nothing but layers of an adapter tells the model from the base."""
    layers = [module for module in model.modules() if isinstance(module, AdaptedLinear)]
    known = {id(p) for layer in layers for p in layer.parameters(recurse=False)}
    known |= {id(parameter) for parameter in base.parameters()}
    return bool(layers) and all(id(parameter) in known for parameter in model.parameters())


def _may_be(frozen: nn.Module, base: Linear | QuantizedLinear) -> bool:
    """Whether the base's linear can stand for a frozen one of the model."""
    if not isinstance(frozen, QuantizedLinear):
        return True
    if not isinstance(base, QuantizedLinear) or frozen.quantizer.name != base.quantizer.name:
        return False
    pairs = zip(frozen.named_parameters(), base.named_parameters(), strict=True)
    return all(a == b and p.equal(q) for (a, p), (b, q) in pairs)
