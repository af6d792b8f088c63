"""What a file of tensors is, by their names and shapes alone."""

import re
from collections.abc import Mapping
from typing import Literal, TypeAlias

from torch import Tensor

Kind: TypeAlias = Literal["model", "lora", "bone", "bat", "state", "start", "peft", "other"]
"""lora to start: RWKV-PEFT's adapters, and init_pissa.pth; peft: the tensors of a peft folder."""

SHARDED = ("bone", "disha")  # RWKV-PEFT's names, over time, for one matrix of MiSS or of Bat
_PEFT = re.compile(r"^base_model\.|\.(lora_[AB]\.weight|miss_block|bone_block)$")


def kind_of(tensors: Mapping[str, Tensor]) -> Kind:
    """By the ends of the names; MiSS and Bat differ in their number of dimensions."""
    ends = {name.rpartition(".")[2] for name in tensors}
    if any(map(_PEFT.search, tensors)):
        return "peft"
    if ends & {"init_lora_A", "init_lora_B"}:
        return "start"
    if ends & {"lora_A", "lora_B"}:
        return "lora"
    if ends & set(SHARDED):
        return (
            "bat"
            if any(t.dim() == 3 and n.endswith(SHARDED) for n, t in tensors.items())
            else "bone"
        )
    if ends == {"time_state"}:
        return "state"
    return "model" if "emb.weight" in tensors else "other"
