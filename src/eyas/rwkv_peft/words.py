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
    "seed": "--random_seed",
}
_OPTIONS = {f"--{name.rpartition('.')[2].replace('_', '-')}": f for name, f in _SETTINGS.items()}
_OPTIONS |= {"--init": "--lora_init", "--alpha": "--lora_alpha", "--method": "--peft"}
_ALONE = {name: flag for name, flag in _SETTINGS.items() if "." not in name}
_METHOD = re.compile(r"^method (\w+): (\w+)")
_FIRST = re.compile(r"^\w+(?= = )")
_OPTION = re.compile(r"--[a-z][a-z-]*[a-z]\b|\b(?:batch|loop|optim|reading|frozen|engine)\.\w+")


def in_flags(message: str) -> str:
    """The message with eyas's options and settings as RWKV-PEFT's flags."""
    known = _OPTIONS | _SETTINGS
    plain = re.sub(r"^flags[:,] ", "", message)
    plain = _METHOD.sub(lambda found: _in_json(*found.groups()), plain)
    plain = _FIRST.sub(lambda found: _ALONE.get(found[0], found[0]), plain)
    return _OPTION.sub(lambda found: known.get(found[0], found[0]), plain)


def _in_json(method: str, setting: str) -> str:
    """A setting of a method as the JSON names it that sets it."""
    family = "bone" if method in ("miss", "bat") else method
    name = {"rank": "r"}.get(setting, setting)
    prefix = "" if name == "svd_niter" else f"{family}_"
    return f"--{family}_config: {prefix}{name}"
