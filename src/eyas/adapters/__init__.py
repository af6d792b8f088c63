"""Methods of adapting a model, and the adapters that come of them."""

from collections.abc import Mapping

from eyas.adapters.base import (
    AdaptedLinear,
    Method,
    Part,
    adapted_layers,
    adapter_tensors,
    attach,
    part_of,
    restore,
)
from eyas.adapters.file import Adapter, describe, load_adapter, save_adapter
from eyas.adapters.full import Full
from eyas.adapters.lora import LoRA
from eyas.adapters.pissa import PiSSA
from eyas.config import did_you_mean, from_mapping
from eyas.errors import UserError

METHODS: tuple[type[LoRA] | type[PiSSA] | type[Full], ...] = (PiSSA, LoRA, Full)


def method_named(name: str, settings: Mapping[str, object], where: str) -> Method:
    """The method of that name with these settings. Raises UserError where there is none."""
    by_name = {cls.name: cls for cls in METHODS}
    if name not in by_name:
        raise UserError(
            f"{where}: no method '{name}'{did_you_mean(name, by_name)}; "
            f"there are {', '.join(by_name)}"
        )
    return from_mapping(by_name[name], settings, f"{where}, method {name}")


__all__ = [
    "METHODS",
    "AdaptedLinear",
    "Adapter",
    "Full",
    "LoRA",
    "Method",
    "Part",
    "PiSSA",
    "adapted_layers",
    "adapter_tensors",
    "attach",
    "describe",
    "load_adapter",
    "method_named",
    "part_of",
    "restore",
    "save_adapter",
]
