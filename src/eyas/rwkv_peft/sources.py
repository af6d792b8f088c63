"""Which data are read, and how: `--data_file` and what goes with it."""

from pathlib import Path

from eyas.errors import UserError
from eyas.rwkv_peft.flags import Given


def sources(given: Given) -> dict[str, object]:
    """Raises UserError where something is missing or cannot be read so."""
    kind, file = given["data_type"], given["data_file"]
    if not file and kind != "dummy":
        raise UserError("--data_file is missing; give the path of the data")
    reading: dict[str, object] = {}
    if given["sft_field"]:
        if len(given["sft_field"]) != 2:
            raise UserError("--sft_field takes two names, of the question's and answer's fields")
        question, answer = given["sft_field"]
        reading["map"] = (f"{question}:user", f"{answer}:assistant")
    if kind == "uint16":
        reading["row_length"] = given["my_sample_len"]
    if kind == "sft":
        reading["mask"] = "auto"  # questions are never trained, whatever --loss_mask says
    elif given["loss_mask"] == "se":
        reading["mask_id"] = _markers(given)
    return {"data": _with_split(given, file or kind), "reading": reading}


def _with_split(given: Given, file: str) -> str:
    split = given["sft_split"]
    if split == "train":
        return file
    if "[" in split or Path(file).exists():
        raise UserError(
            f"--sft_split {split}: eyas takes the whole of a file, and of a data set of the hub a "
            "whole split; cut the data, or let --epoch_steps end the run earlier"
        )
    return f"{file}:{split}"


def _markers(given: Given) -> tuple[str, str]:
    """Where training begins and where it ends."""
    found = {key.replace("mask01", "mask1"): str(value) for key, value in given["mask_id"].items()}
    if set(found) != {"mask0", "mask1"}:
        raise UserError(
            '--loss_mask se needs --mask_id \'{"mask0":"A","mask1":"B"}\': B begins what is '
            "trained and A ends it"
        )
    return found["mask1"], found["mask0"]
