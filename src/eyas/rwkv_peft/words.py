"""What eyas says, in the words of the flags that were typed."""

import re

from eyas.rwkv_peft.flags import Sets
from eyas.rwkv_peft.table import TRAIN

_SETTINGS = {flag.does.setting: f"--{flag.name}" for flag in TRAIN if isinstance(flag.does, Sets)}
_SETTINGS |= {
    "optim.lr_final": "--lr_final",
    "optim.schedule": "--lr_schedule",
    "optim.warmup_steps": "--warmup_steps",
    "loop.steps": "--epoch_count",
    "loop.save_every": "--epoch_steps",
    "reading.mask_id": "--mask_id",
    "reading.row_length": "--my_sample_len",
    "frozen.quant": "--quant",
}
_OPTIONS = {f"--{name.rpartition('.')[2].replace('_', '-')}": f for name, f in _SETTINGS.items()}
_OPTIONS |= {"--init": "--lora_init", "--alpha": "--lora_alpha", "--method": "--peft"}
_OPTION = re.compile(r"--[a-z][a-z-]*[a-z]\b|\b(?:batch|loop|optim|reading|frozen|engine)\.\w+")


def in_flags(message: str) -> str:
    """The message with eyas's options and settings as RWKV-PEFT's flags."""
    known = _OPTIONS | _SETTINGS
    return _OPTION.sub(lambda found: known.get(found[0], found[0]), message.removeprefix("flags: "))
