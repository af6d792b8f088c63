"""Any adapter to any form: what is read follows from the files, what is written from the name.

    IN     a run, a checkpoint or an adapter file of eyas; RWKV-PEFT's rwkv-N.pth or state file;
           a folder of HF peft
    OUT    NAME.safetensors: eyas · NAME.pth: RWKV-PEFT · any other name: a folder for HF peft

In between it is always an `Adapter`, so that each form is read once and written once.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from safetensors import SafetensorError, safe_open

from eyas.adapters import Adapter, LoftQ, OLoRA, PiSSA, save_adapter
from eyas.errors import UserError
from eyas.interop import peft, peft_write, rwkv_peft, rwkv_peft_write
from eyas.interop.base import Base, read_base
from eyas.interop.lora import as_lora
from eyas.run import adapter_at, read_run

Form = Literal["eyas", "rwkv-peft", "peft"]
FORMS: tuple[Form, ...] = get_args(Form)

_BY_SUFFIX: dict[str, Form] = {".safetensors": "eyas", ".pth": "rwkv-peft"}
_QUANTIZED = (
    "trained over a base quantized to {}: over the dense base what quantization lost is back, so "
    "that the model is not quite the one that was trained; `eyas merge` writes that one"
)


@dataclass(frozen=True)
class Converted:
    """What came of a conversion."""

    paths: tuple[Path, ...]
    form: Form
    adapter: Adapter
    notes: tuple[str, ...]
    """What the user must know of the files written."""


def convert(
    source: Path,
    out: Path,
    form: Form | None = None,
    base: Path | None = None,
    start: Path | None = None,
    alpha: float | None = None,
    lora: bool = False,
    dtype: torch.dtype | None = None,
    overwrite: bool = False,
) -> Converted:
    """Reads an adapter and writes it in another form; the files appear whole or not at all.

    form: by the name of `out` where it is None. base: the model of a foreign adapter. start: what
    a foreign PiSSA started from. alpha: that of a foreign LoRA. lora: as a LoRA, for programs that
    know nothing else. dtype: of foreign files, float32 by default.
    Raises UserError for anything wrong with the files, and where the form has no place for it.
    """
    form = form or _form_of(out)
    if form == "eyas" and dtype is not None:
        raise UserError("eyas keeps adapters in float32, to train on from them; leave --dtype out")
    if source.resolve() == out.resolve():
        raise UserError(f"{out}: is what is to be converted; name another OUT")
    _check_free(out, form, overwrite)
    if start and not start.exists():
        raise UserError(
            f"{start}: no such file or folder; give what the run started from as --init"
        )
    known = read_base(base) if base else None
    adapter = _read(source, known, start, alpha)
    notes = [_QUANTIZED.format(_quantized_to(adapter))] if adapter.quantized() else []
    if lora or (form == "peft" and isinstance(adapter.method, (PiSSA, OLoRA, LoftQ))):
        adapter = as_lora(adapter, known or _base_of_run(source))
    if form == "eyas":
        save_adapter(adapter, out)
        return Converted((out,), form, adapter, tuple(notes if lora else ()))
    if form == "peft":
        peft_write.write(adapter, out, dtype or torch.float32)
        return Converted((out,), form, adapter, tuple(notes))
    paths = rwkv_peft_write.files(adapter, out)
    for path in paths:
        _check_free(path, form, overwrite)
    notes += rwkv_peft_write.write(adapter, out, dtype or torch.float32)
    return Converted(tuple(paths), form, adapter, tuple(notes))


def is_own(path: Path) -> bool:
    """Whether this is an adapter file of eyas."""
    if path.suffix.lower() != ".safetensors":
        return False
    try:
        with safe_open(path, framework="pt") as file:
            return "eyas-adapter" in (file.metadata() or {}).get("format", "")
    except SafetensorError:
        return False  # the one who reads it says what is wrong


def _quantized_to(adapter: Adapter) -> str:
    head = "int8 (its head)" if adapter.frozen.quant_head else ""
    return " and ".join(name for name in (adapter.frozen.quant, head) if name not in ("none", ""))


def _form_of(out: Path) -> Form:
    if out.suffix[1:].isalpha() and out.suffix not in _BY_SUFFIX:
        raise UserError(
            f"{out}: the name does not say what to write: NAME.safetensors is for eyas, NAME.pth "
            "for RWKV-PEFT, a name without such an end a folder for HF peft; or say it with --to"
        )
    return _BY_SUFFIX.get(out.suffix, "peft")


def _check_free(path: Path, form: Form, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise UserError(f"{path}: exists already; add --overwrite, or name another OUT")
    if path.exists() and form == "peft" and not (path / peft.CONFIG).exists():
        raise UserError(f"{path}: exists and is no folder of HF peft; name another OUT")


def _read(source: Path, base: Base | None, start: Path | None, alpha: float | None) -> Adapter:
    if is_own(source) or (source.is_dir() and not (source / peft.CONFIG).exists()):
        if start or alpha is not None:
            raise UserError(f"{source}: says itself what it is; leave --init and --alpha out")
        adapter = adapter_at(source)
        if base and base.fingerprint != adapter.base:
            raise UserError(
                f"{base.path}: not the model that {source} was trained over ({adapter.shape})"
            )
        return adapter
    if not source.exists():
        raise UserError(f"{source}: no such file or folder; give an adapter, or a run's folder")
    if base is None:
        raise UserError(
            f"{source}: does not say which model it was trained over; give that one with --base"
        )
    if not source.is_dir():
        return rwkv_peft.read(source, base, start, alpha)
    if alpha is not None:
        raise UserError(f"{source}: {peft.CONFIG} says what alpha is; leave --alpha out")
    return peft.read(source, base, start)


def _base_of_run(source: Path) -> Base | None:
    return read_base(read_run(source).model) if (source / "run.toml").exists() else None
