"""A model, or a run merged on the way, in the form that another program runs.

    export("runs/first", "gguf", dtype="q8_0")      runs/first/BASE-merged-q8_0.gguf

What each form is: the files of `eyas.exporting`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch

from eyas.adapters import save_adapter
from eyas.data import Tokenizer, tokenizer_for
from eyas.errors import UserError
from eyas.exporting import gguf, hf, lora, st, state
from eyas.exporting.pth import write_pth
from eyas.exporting.vocabulary import is_of_bytes
from eyas.exporting.weights import STATE, Weight, Weights, read_weights, stored
from eyas.files import remove_temporaries
from eyas.interop.kinds import kind_of
from eyas.interop.lora import as_lora
from eyas.interop.parts import OWN, parts_of
from eyas.interop.source import Source, open_source
from eyas.models import Shape, read_tensors
from eyas.run import merge_run

Form = Literal["pth", "st", "gguf", "hf", "state", "lora"]
FORMS: tuple[Form, ...] = get_args(Form)

_TYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_ENDS: dict[Form, tuple[str, ...]] = {
    "pth": (".pth",),
    "st": (".st",),
    "gguf": (".gguf",),
    "hf": ("",),
    "state": (".pth", ".state", ".st", ".safetensors"),
    "lora": (".lora", ".st"),
}
_TOKENIZED = ("gguf", "hf")


@dataclass(frozen=True)
class Exported:
    """What came of an export."""

    path: Path
    notes: tuple[str, ...]
    """What the user must know of it."""

    @property
    def nbytes(self) -> int:
        inside = self.path.iterdir() if self.path.is_dir() else [self.path]
        return sum(file.stat().st_size for file in inside)


def export(
    source: str | Path,
    to: Form,
    out: str | Path | None = None,
    dtype: str | None = None,
    base: str | Path | None = None,
    tokenizer: str | None = None,
    overwrite: bool = False,
) -> Exported:
    """Writes a model (a file, a released model's name), or a run merged with its base.

    out: by default beside the model or in the run, named after the model. dtype: fp32, fp16 or
    bf16, by default the base's; of gguf any of `gguf.QUANTIZATIONS`, by default f16; st, lora and
    what Ai00 reads of a state are float16. base: of a run, where it is now. tokenizer: of gguf and
    hf, as `eyas train` takes it. What is written appears whole or not at all.

    Raises:
        UserError: no such model, a form that cannot hold it, or `out` that is there already.
        ArithmeticError: a merged weight differs from what the trained layer computes.
    """
    found = open_source(Path(source), Path(base) if base else None)
    place = Path(out) if out else None
    kind = _dtype(to, dtype, place)
    if tokenizer and to not in _TOKENIZED:
        raise UserError(f"--tokenizer: a file of --to {to} holds none; leave it out")
    path = place or _default_out(found, to, kind)
    _check_out(found, to, path, overwrite)
    remove_temporaries(path.parent, path.name)
    return Exported(path, tuple(_write(found, to, path, kind, tokenizer, overwrite)))


def _dtype(form: Form, given: str | None, out: Path | None) -> str | None:
    """What is to be written, in the format's own word; None for its default."""
    if form == "gguf":
        return (given or "f16").lower().replace("fp", "f")
    if given is not None and given not in _TYPES:
        what = ", ".join(gguf.QUANTIZATIONS)
        raise UserError(
            f"--dtype {given}: of --to {form} it is one of {', '.join(_TYPES)}; quantized files "
            f"are --to gguf ({what})"
        )
    if form in ("st", "lora") or (form == "state" and out and out.suffix in (".state", ".st")):
        if given not in (None, "fp16"):
            raise UserError(f"--dtype {given}: web-rwkv reads float16 alone; leave it out")
        return None
    if form == "state" and out and out.suffix == ".safetensors" and given not in (None, "fp32"):
        raise UserError(f"--dtype {given}: eyas keeps adapters in float32; leave it out")
    return given


def _default_out(source: Source, form: Form, dtype: str | None) -> Path:
    """Beside the model, or in the run, named after the base."""
    stem = source.base.stem
    if source.adapter and form not in ("state", "lora"):
        stem += "-merged"
    if form in ("state", "hf"):
        stem += f"-{form}"
    if dtype:
        stem += f"-{dtype}"
    return source.folder / f"{stem}{_ENDS[form][0]}"


def _check_out(source: Source, form: Form, out: Path, overwrite: bool) -> None:
    if out.suffix not in _ENDS[form] and form != "hf":
        ends = ", ".join(f"NAME{end}" for end in _ENDS[form])
        raise UserError(f"{out}: --to {form} writes {ends}; name another --out")
    if out.resolve() in (source.base.resolve(), source.path.resolve()):
        raise UserError(f"{out}: this is what is to be exported; name another --out")
    if out.exists() and not overwrite:
        raise UserError(f"{out}: exists already; add --overwrite, or name another --out")


def _write(
    source: Source,
    form: Form,
    out: Path,
    dtype: str | None,
    tokenizer: str | None,
    overwrite: bool,
) -> list[str]:
    """Writes it; what the user has to know of it."""
    kind = _TYPES.get(dtype or "")
    if form == "state":
        return _write_state(source, out, kind)
    if form == "lora":
        return _write_lora(source, out)
    if form == "pth" and source.adapter:
        return merge_run(source.path, out, kind, source.base_here(), overwrite).told()
    weights = source.weights()
    if form == "hf":
        chosen = _tokenizer(source, weights, tokenizer)
        return _write_hf(weights, out, chosen, kind, overwrite)
    if form == "pth":
        write_pth(out, weights.entries(kind))
    elif form == "st":
        st.write(weights, out)
    else:
        gguf.write(weights, out, _tokenizer(source, weights, tokenizer), str(dtype))
    return _limits(form, weights.shape)


def _limits(form: Form, shape: Shape) -> list[str]:
    """What programs that read the format cannot do with such a model."""
    if shape.version != "x070":
        return []
    if form == "st":
        return ["RWKV-7 runs in Ai00 and web-rwkv 0.10; web-rwkv-py 0.2.3 does not know it"]
    if form == "gguf" and shape.head_size % 64:
        return [
            f"llama.cpp computes RWKV-7 with heads of {shape.head_size} wrong on CPUs with "
            "AVX-512; multiples of 64 are right"
        ]
    return []


def _write_hf(
    weights: Weights, out: Path, tokenizer: Tokenizer, kind: torch.dtype | None, overwrite: bool
) -> list[str]:
    fits = is_of_bytes(tokenizer)
    hf.write(weights, out, tokenizer if fits else None, kind, overwrite)
    return [] if fits else [f"without a tokenizer: the folder has no form for {tokenizer.name!r}"]


def _write_state(source: Source, out: Path, kind: torch.dtype | None) -> list[str]:
    if out.suffix == ".safetensors":
        if source.adapter is None:
            raise UserError(
                f"{out}: eyas keeps with a state which model it is for, and {source.path} alone "
                f"does not say; eyas convert {source.path} {out} --base MODEL"
            )
        save_adapter(source.adapter, out)
        return []
    state.write(_states(source), out, kind)
    notes = [] if out.suffix == ".pth" else ["Config.toml of Ai00: [[state]], path = this file"]
    return notes + _left_out(source)


def _states(source: Source) -> list[Weight]:
    if source.adapter:
        tensors: Mapping[str, torch.Tensor] = source.adapter.tensors
    else:
        tensors = read_tensors(source.path)
        if kind_of(tensors) != "state":
            return read_weights(source.path).states
    return [stored(name, tensor) for name, tensor in tensors.items() if name.endswith(STATE)]


def _left_out(source: Source) -> list[str]:
    """What of a run a file of its state has no place for."""
    if source.adapter is None:
        return []
    others = [name for name in source.adapter.tensors if not name.endswith(STATE)]
    notes = []
    if others:
        notes.append(
            f"without {others[0]} and all else that was trained beside the state; --to pth and "
            "--to st write a model with both"
        )
    if source.adapter.quantized():
        notes.append(_DENSE)
    return notes


_DENSE = (
    "trained over a quantized base: over the dense one it is not quite the model that was "
    "trained; --to st writes that one"
)


def _write_lora(source: Source, out: Path) -> list[str]:
    if source.adapter is None:
        raise UserError(f"{source.path}: is a model; --to lora exports what a run has trained")
    base = source.read_base()
    adapter = as_lora(source.adapter, base)
    parts = parts_of(adapter.tensors, OWN)
    scale = getattr(adapter.method, "scale", 1.0)
    factors = {p: (t["lora_A"], scale * t["lora_B"]) for p, t in parts.layers.items()}
    alpha = lora.write(factors, parts.whole, base.tensors, out)
    notes = [f"Config.toml of Ai00: [[lora]], path = this file, alpha = {alpha}"]
    return [*notes, _DENSE] if source.adapter.quantized() else notes


def _tokenizer(source: Source, weights: Weights, given: str | None) -> Tokenizer:
    return tokenizer_for(weights.shape.vocab_size, source.base_here(), given or source.tokenizer)
