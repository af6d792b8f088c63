"""A tuned initial state as a file of its own, loaded beside the model that it was tuned for.

NAME.pth    blocks.i.att.time_state [H, value, key], one for every layer and nothing else:
            RWKV Runner, RWKV-PEFT
NAME.state  the same in float16, the last two axes swapped: Ai00 (`[[state]]`), web-rwkv; it
or NAME.st  is a safetensors file
"""

import re
from collections.abc import Iterable
from pathlib import Path

import torch

from eyas.errors import UserError
from eyas.exporting.pth import Entry, write_pth
from eyas.exporting.safetensors_file import write_safetensors
from eyas.exporting.st import entry
from eyas.exporting.weights import Weight

_NAME = re.compile(r"blocks\.(\d+)\.att\.time_state")


def write(states: Iterable[Weight], path: Path, dtype: torch.dtype | None = None) -> None:
    """The form follows from the name's end: .pth, .state or .st.

    dtype: of a .pth, by default each one's own. Raises UserError where a layer has no state.
    """
    ordered = sorted(states, key=_layer)
    if [_layer(weight) for weight in ordered] != list(range(len(ordered))) or not ordered:
        raise UserError(
            f"{path}: holds the state of every layer, and what is to be exported has "
            f"{len(ordered)} of them; export a run of --method state"
        )
    if path.suffix in (".state", ".st"):
        write_safetensors(path, [entry(weight) for weight in ordered])
        return
    kinds = [dtype or weight.dtype for weight in ordered]
    write_pth(path, [_plain(w, kind) for w, kind in zip(ordered, kinds, strict=True)])


def _plain(weight: Weight, dtype: torch.dtype) -> Entry:
    return Entry(weight.name, weight.shape, dtype, lambda: weight.rounded(dtype))


def _layer(weight: Weight) -> int:
    match = _NAME.fullmatch(weight.name)
    return int(match[1]) if match else -1
