"""eyas fine-tunes RWKV language models.

import eyas

model = eyas.load("base.pth")                       # any RWKV-5.2, -6 or -7
logits, state = model(tokens)                       # [B, T] -> [B, T, V]
run = eyas.Run("base.pth", "data.jsonl", out="runs/first", method=eyas.PiSSA(rank=32))
for event in eyas.train(run):                       # Step, Validated, Saved, Finished
    print(event)
eyas.merge(run.out)                                 # one .pth
eyas.export(run.out, "gguf", dtype="q8_0")          # for another program
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eyas.adapters import Full as Full
    from eyas.adapters import LoRA as LoRA
    from eyas.adapters import PiSSA as PiSSA
    from eyas.errors import UserError as UserError
    from eyas.generation.sampling import Sampling as Sampling
    from eyas.generation.stream import generate as generate
    from eyas.interop.export import export as export
    from eyas.models import load as load
    from eyas.run import merge_run as merge
    from eyas.run import train as train
    from eyas.settings import Run as Run

# Imported when they are asked for: `eyas --help` must not wait for PyTorch.
_HOMES = {
    "Full": "eyas.adapters:Full",
    "LoRA": "eyas.adapters:LoRA",
    "PiSSA": "eyas.adapters:PiSSA",
    "Run": "eyas.settings:Run",
    "Sampling": "eyas.generation.sampling:Sampling",
    "UserError": "eyas.errors:UserError",
    "export": "eyas.interop.export:export",
    "generate": "eyas.generation.stream:generate",
    "load": "eyas.models:load",
    "merge": "eyas.run:merge_run",
    "train": "eyas.run:train",
}

__all__ = [
    "Full",
    "LoRA",
    "PiSSA",
    "Run",
    "Sampling",
    "UserError",
    "export",
    "generate",
    "load",
    "merge",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'eyas' has no attribute '{name}'")
    module, attribute = _HOMES[name].split(":")
    return getattr(import_module(module), attribute)
