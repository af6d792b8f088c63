"""Methods of adapting a model, and the adapters that come of them."""

from eyas.adapters.base import (
    AdaptedLinear,
    LayerMethod,
    Method,
    ModelMethod,
    Part,
    adapted_layers,
    adapter_tensors,
    attach,
    free_parts,
    part_of,
    restore,
)
from eyas.adapters.bat import Bat
from eyas.adapters.file import Adapter, describe, load_adapter, restore_adapter, save_adapter
from eyas.adapters.full import Full
from eyas.adapters.loftq import LoftQ
from eyas.adapters.lora import LoRA
from eyas.adapters.methods import METHODS, AnyMethod, described, method_named
from eyas.adapters.miss import MiSS
from eyas.adapters.olora import OLoRA
from eyas.adapters.pissa import PiSSA
from eyas.adapters.state import State

__all__ = [
    "METHODS",
    "AdaptedLinear",
    "Adapter",
    "AnyMethod",
    "Bat",
    "Full",
    "LayerMethod",
    "LoRA",
    "LoftQ",
    "Method",
    "MiSS",
    "ModelMethod",
    "OLoRA",
    "Part",
    "PiSSA",
    "State",
    "adapted_layers",
    "adapter_tensors",
    "attach",
    "describe",
    "described",
    "free_parts",
    "load_adapter",
    "method_named",
    "part_of",
    "restore",
    "restore_adapter",
    "save_adapter",
]
