"""merge.py: a base model and rwkv-N.pth become one model, proven to be the trained one."""

from pathlib import Path

from eyas.adapters import Adapter, LoRA
from eyas.config import did_you_mean, from_mapping
from eyas.errors import UserError
from eyas.interop import rwkv_peft
from eyas.interop.base import Base, read_base
from eyas.interop.kinds import Kind, kind_of
from eyas.interop.rwkv_peft import START
from eyas.merging import merge as merge_files
from eyas.models import read_tensors
from eyas.quant import FrozenConfig
from eyas.run import adapter_at, read_run
from eyas.rwkv_peft.files import number_of, over_quantized
from eyas.rwkv_peft.flags import Given, idle_lines
from eyas.rwkv_peft.meaning import quant_of
from eyas.rwkv_peft.table import MERGE
from eyas.settings import SETTINGS, Run

_SHARDED: tuple[Kind, ...] = ("bone", "bat")
_TYPES: dict[str, tuple[Kind, ...]] = {
    "pissa": ("lora",),
    "lora": ("lora",),
    **dict.fromkeys(("bone", "disha", "miss", "bat"), _SHARDED),
    "state": ("state",),
}


def merge(given: Given) -> int:
    """The exit code. Raises UserError for what the user can mend."""
    if missing := [f"--{name}" for name in ("base_model", "output") if not given[name]]:
        raise UserError(f"{' and '.join(missing)}: missing")
    base, output = (Path(given[name]).expanduser() for name in ("base_model", "output"))
    source = _source(given, output)
    if output.resolve() in (base.resolve(), source.resolve()):
        raise UserError(f"--output {output}: is what is to be merged; name another file")
    for line in idle_lines(MERGE, given):
        print(line)
    adapter = _adapter(given, read_base(base), source)
    try:
        merged = merge_files(base, adapter, output)
    except ArithmeticError as error:
        raise UserError(str(error)) from error
    print(f"{merged.path} ({merged.path.stat().st_size / 2**20:,.1f} MiB)")
    for line in merged.told():
        print(line)
    return 0


def _source(given: Given, output: Path) -> Path:
    """The rwkv-N.pth; without one, as in the tutorial's script, the last beside `output`."""
    if given["lora_checkpoint"]:
        return Path(given["lora_checkpoint"]).expanduser()
    numbered = {number_of(path): path for path in output.parent.glob("rwkv-*.pth")}
    found = {number: path for number, path in numbered.items() if number is not None}
    if not found:
        raise UserError(
            "--lora_checkpoint: missing (the variable behind it is empty, or of another name in "
            f"the script), and {output.parent} holds no rwkv-N.pth"
        )
    last = found[max(found)]
    print(f"--lora_checkpoint: {last}, the last one in the folder of --output")
    return last


def _adapter(given: Given, base: Base, source: Path) -> Adapter:
    """The adapter in the files, over the base as it was in training."""
    kind = kind_of(read_tensors(source))
    if kind == "model":
        raise UserError(
            f"{source}: is a whole model, as all its weights were trained; there is nothing to "
            "merge, use it as it is"
        )
    run = _run_of(source)
    name = _type(given, kind, source, run)
    start = _start(given, source) if name == "pissa" else None
    alpha = _alpha(given, run) if name == "lora" else None
    adapter = rwkv_peft.read(source, base, start, alpha)
    frozen = from_mapping(FrozenConfig, {"quant": _quant(given, run)}, "flags")
    codes = adapter_at(source.parent).codes if run and frozen.quant != "none" else ""
    return over_quantized(adapter, frozen, base.path, codes)


def _run_of(source: Path) -> Run | None:
    """The run of eyas that wrote this rwkv-N.pth; None where it is another program's."""
    number = number_of(source)
    if number is None or not (source.parent / SETTINGS).exists():
        return None
    run = read_run(source.parent)
    begin, steps = run.watch.epoch_begin, run.watch.epoch_steps
    if not steps or not begin <= number < begin + (run.loop.steps or 0) // steps:
        return None
    return run


def _type(given: Given, kind: Kind, source: Path, run: Run | None) -> str:
    name = given["type"].lower()
    if "type" not in given and kind != "lora":
        return kind
    if "type" not in given and run:
        return run.method.name
    if "type" not in given and "lora_alpha" in given and "lora_init" not in given:
        return "lora"
    if name not in _TYPES:
        raise UserError(
            f"--type {given['type']}: there are {', '.join(_TYPES)}{did_you_mean(name, _TYPES)}"
        )
    if kind in ("lora", "bone", "bat", "state") and kind not in _TYPES[name]:
        what = "lora or pissa" if kind == "lora" else kind
        raise UserError(f"{source}: is {what}, and --type says {name}; write what it is")
    if run and kind == "lora" and run.method.name != name:
        raise UserError(f"{source}: was trained as {run.method.name}, and --type says {name}")
    return str(name)


def _start(given: Given, source: Path) -> Path:
    """The init_pissa.pth of the run."""
    beside = source.with_name(START)
    if given["lora_init"] not in ("none", ""):
        return Path(given["lora_init"]).expanduser()
    if not beside.exists():
        raise UserError(f"--lora_init: missing; give the {START} of the run that wrote {source}")
    print(f"--lora_init: {beside}, which lies beside the checkpoint")
    return beside


def _alpha(given: Given, run: Run | None) -> float:
    known = run.method.alpha if run and isinstance(run.method, LoRA) else None
    if "lora_alpha" not in given:
        if known is None:
            raise UserError("--lora_alpha: missing; give the lora_alpha of its lora_config")
        return known
    typed: float = given["lora_alpha"]
    if known not in (None, typed):
        raise UserError(f"--lora_alpha {typed:g}: the run was trained with {known:g}; write that")
    return typed


def _quant(given: Given, run: Run | None) -> str:
    typed = quant_of(given["quant"])
    if run is None or typed == run.frozen.quant:
        return typed
    if "quant" in given:
        raise UserError(
            f"--quant {typed}: the run was trained over a base quantized to {run.frozen.quant}; "
            "leave --quant out, or write that"
        )
    return run.frozen.quant
