"""The course of the learning rate from lr_init to lr_final."""

from eyas.errors import UserError
from eyas.rwkv_peft.flags import Given

_WSD_WARMUP = 100
_STATES_BEAR = 0.1


def course(given: Given, method: str) -> tuple[dict[str, object], list[str]]:
    """The learning rate after `lr_init`, and lines on it."""
    first, last, schedule = given["lr_init"], given["lr_final"], given["lr_schedule"]
    warmup = max(0, given["warmup_steps"])
    if schedule not in ("", "cos", "wsd"):
        raise UserError(f"--lr_schedule {schedule}: there are cos and wsd")
    lines = []
    if method == "state" and first > _STATES_BEAR:
        lines.append(f"--lr_init {first:g}: far above what states bear, 3e-4 to 1e-2")
    if first == last:
        return {"schedule": "constant", "warmup_steps": warmup}, lines
    if given["epoch_begin"]:
        lines.append("--epoch_begin: numbers files and logs; the learning rate begins at lr_init")
    if schedule == "wsd":
        if not warmup:
            warmup = _WSD_WARMUP
            lines.append(f"--lr_schedule wsd: warms up for {warmup} steps; --warmup_steps decides")
        last = 0.0
    exponential = first > 0 and last > 0
    name = "cosine" if schedule else "exponential" if exponential else "linear"
    return {"schedule": name, "lr_final": last, "warmup_steps": warmup}, lines
