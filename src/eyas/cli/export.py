"""`eyas export`: a model, or a run merged on the way, in the form that another program runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import torch

from eyas.adapters import Adapter, save_adapter
from eyas.data import Tokenizer, tokenizer_for
from eyas.errors import UserError
from eyas.exporting import gguf, hf, lora, st, state
from eyas.exporting.pth import write_pth
from eyas.exporting.vocabulary import is_of_bytes
from eyas.exporting.weights import STATE, Weight, Weights, read_weights, stored
from eyas.files import remove_temporaries
from eyas.hub import local_model, wanted
from eyas.interop.base import read_base
from eyas.interop.convert import is_own
from eyas.interop.kinds import kind_of
from eyas.interop.lora import as_lora
from eyas.interop.parts import OWN, parts_of
from eyas.merging import merged_weights
from eyas.models import Shape, read_tensors
from eyas.run import adapter_at, merge_run, read_run, steps_done

_PATH = click.Path(path_type=Path)
_TYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_ENDS: dict[str, tuple[str, ...]] = {
    "pth": (".pth",),
    "st": (".st",),
    "gguf": (".gguf",),
    "hf": ("",),
    "state": (".pth", ".state", ".st", ".safetensors"),
    "lora": (".lora", ".st"),
}
_HALF_ONLY = ("st", "lora")


@dataclass(frozen=True)
class _Source:
    """What is to be exported: a model file, or an adapter and its base."""

    path: Path
    base: Path
    folder: Path
    """Where what is written goes by default."""
    adapter: Adapter | None
    tokenizer: str | None

    def weights(self) -> Weights:
        """Merged where there is an adapter."""
        return merged_weights(self.base, self.adapter) if self.adapter else read_weights(self.base)


@click.command("export", short_help="Write a model or a run for another program.")
@click.argument("source", metavar="MODEL|RUN", type=_PATH)
@click.option("--to", "form", required=True, type=click.Choice(list(_ENDS)), help="the format")
@click.option("--out", type=_PATH, help="file or folder to write [default: beside MODEL, in RUN]")
@click.option(
    "--dtype",
    help="fp32, fp16, bf16 [default: the base's]; of gguf also "
    f"{', '.join(gguf.QUANTIZATIONS[3:])} [default: f16]; st and lora are fp16",
)
@click.option("--base", type=_PATH, help="base model of RUN [default: the one trained over]")
@click.option("--tokenizer", help="world, bytes, world-bytes, or a vocabulary file (gguf, hf)")
@click.option("--overwrite", is_flag=True, help="replace the file if it exists")
def command(
    source: Path,
    form: str,
    out: Path | None,
    dtype: str | None,
    base: Path | None,
    tokenizer: str | None,
    overwrite: bool,
) -> None:
    """Export MODEL (.pth, .safetensors), or RUN merged with its base on the way.

    \b
    pth    RWKV Runner, the rwkv package, anything that reads official checkpoints
    st     Ai00 and what else runs on web-rwkv
    gguf   llama.cpp and what is built on it (RWKV-6, RWKV-7)
    hf     a folder for transformers: rwkv7-hf, flash-linear-attention (RWKV-7)
    state  of a tuned state alone: NAME.pth for RWKV Runner, NAME.state for Ai00,
           NAME.safetensors for eyas
    lora   of RUN alone, as Ai00 loads it beside the base: NAME.lora
    """
    found = _source(source, base)
    chosen = _dtype(form, dtype)
    out = out or _default_out(found, form, chosen)
    _check_out(found, form, out, overwrite)
    remove_temporaries(out.parent, out.name)
    progress = steps_done(source) if found.adapter else None
    try:
        notes = _write(found, form, out, chosen, tokenizer)
    except ArithmeticError as error:
        raise UserError(str(error)) from error
    if progress and progress[0] < progress[1]:
        click.echo(f"of an unfinished run: step {progress[0]:,} of {progress[1]:,}")
    click.echo(f"{out} ({_size(out) / 2**20:,.1f} MiB)")
    for note in notes:
        click.echo(note)


def _source(given: Path, base: Path | None) -> _Source:
    path = local_model(given)
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give a model, or a run's --out")
    if not path.is_dir() and not is_own(path):
        if base:
            raise UserError(f"{path}: is a model itself; --base goes with a run")
        folder = path.parent if path == given else Path()  # not among the downloaded models
        return _Source(path, path, folder, None, None)
    adapter = adapter_at(path)
    run = read_run(path) if (path / "run.toml").exists() else None
    base = base or (run.model if run else None)
    if base is None:
        raise UserError(f"{path}: does not know where its base is; add --base")
    if not base.exists() and not wanted(base.as_posix()):
        raise UserError(
            f"{path}: the model that it was trained over, {base}, is not there; say with --base "
            "where it is now"
        )
    folder = path if path.is_dir() else path.parent
    return _Source(path, local_model(base), folder, adapter, run.tokenizer if run else None)


def _dtype(form: str, given: str | None) -> str | None:
    """What is to be written, in the format's own word; None for its default."""
    if form == "gguf":
        return (given or "f16").lower().replace("fp", "f")
    if given is not None and given not in _TYPES:
        what = ", ".join(gguf.QUANTIZATIONS)
        raise UserError(
            f"--dtype {given}: of --to {form} it is one of {', '.join(_TYPES)}; quantized files "
            f"are --to gguf ({what})"
        )
    if form in _HALF_ONLY and given not in (None, "fp16"):
        raise UserError(f"--dtype {given}: web-rwkv reads float16 alone; leave it out")
    return given


def _default_out(source: _Source, form: str, dtype: str | None) -> Path:
    """Beside the model, or in the run, named after the base."""
    stem = source.base.stem
    if source.adapter and form not in ("state", "lora"):
        stem += "-merged"
    if form in ("state", "hf"):
        stem += f"-{form}"
    if form in ("pth", "hf", "gguf") and dtype:
        stem += f"-{dtype}"
    return source.folder / f"{stem}{_ENDS[form][0]}"


def _check_out(source: _Source, form: str, out: Path, overwrite: bool) -> None:
    if out.suffix not in _ENDS[form] and form != "hf":
        ends = ", ".join(f"NAME{end}" for end in _ENDS[form])
        raise UserError(f"{out}: --to {form} writes {ends}; name another --out")
    if out.resolve() in (source.base.resolve(), source.path.resolve()):
        raise UserError(f"{out}: this is what is to be exported; name another --out")
    if out.exists() and form == "hf":
        raise UserError(f"{out}: exists already; remove it, or name another --out")
    if out.exists() and not overwrite:
        raise UserError(f"{out}: exists already; add --overwrite, or name another --out")


def _write(
    source: _Source, form: str, out: Path, dtype: str | None, tokenizer: str | None
) -> list[str]:
    """Writes it; what the user has to know of it."""
    kind = _TYPES.get(dtype or "")
    if form == "state":
        return _write_state(source, out, kind)
    if form == "lora":
        return _write_lora(source, out)
    if form == "pth" and source.adapter:
        return merge_run(source.path, out, kind, source.base, overwrite=True).told()
    weights = source.weights()
    if form == "hf":
        return _write_hf(weights, out, _tokenizer(source, weights, tokenizer), kind)
    if form == "pth":
        write_pth(out, weights.entries(kind))
    elif form == "st":
        st.write(weights, out)
    else:
        gguf.write(weights, out, _tokenizer(source, weights, tokenizer), str(dtype))
    return _limits(form, weights.shape)


def _limits(form: str, shape: Shape) -> list[str]:
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
    weights: Weights, out: Path, tokenizer: Tokenizer, kind: torch.dtype | None
) -> list[str]:
    fits = is_of_bytes(tokenizer)
    hf.write(weights, out, tokenizer if fits else None, kind)
    return [] if fits else [f"without a tokenizer: the folder has no form for {tokenizer.name!r}"]


def _write_state(source: _Source, out: Path, kind: torch.dtype | None) -> list[str]:
    if out.suffix == ".safetensors":
        if source.adapter is None:
            raise UserError(
                f"{out}: eyas keeps with a state which model it is for, and {source.path} alone "
                f"does not say; eyas convert {source.path} {out} --base MODEL"
            )
        save_adapter(source.adapter, out)
        return []
    state.write(_states(source), out, kind)
    return [] if out.suffix == ".pth" else ["Config.toml of Ai00: [[state]], path = this file"]


def _states(source: _Source) -> list[Weight]:
    if source.adapter:
        tensors: Mapping[str, torch.Tensor] = source.adapter.tensors
    else:
        tensors = read_tensors(source.path)
        if kind_of(tensors) != "state":
            return read_weights(source.path).states
    return [stored(name, tensor) for name, tensor in tensors.items() if name.endswith(STATE)]


def _write_lora(source: _Source, out: Path) -> list[str]:
    if source.adapter is None:
        raise UserError(f"{source.path}: is a model; --to lora exports what a run has trained")
    base = read_base(source.base)
    if base.fingerprint != source.adapter.base:
        raise UserError(
            f"{source.base}: not the model that {source.path} was trained over "
            f"({source.adapter.shape}); give that one with --base"
        )
    adapter = as_lora(source.adapter, base)
    parts = parts_of(adapter.tensors, OWN)
    scale = getattr(adapter.method, "scale", 1.0)
    factors = {p: (t["lora_A"], scale * t["lora_B"]) for p, t in parts.layers.items()}
    alpha = lora.write(factors, parts.whole, base.tensors, out)
    notes = [f"Config.toml of Ai00: [[lora]], path = this file, alpha = {alpha}"]
    if source.adapter.quantized():
        notes.append(
            "trained over a quantized base: over the dense one it is not quite the model that was "
            "trained; --to st writes that one"
        )
    return notes


def _tokenizer(source: _Source, weights: Weights, given: str | None) -> Tokenizer:
    return tokenizer_for(weights.shape.vocab_size, source.base, given or source.tokenizer)


def _size(path: Path) -> int:
    inside = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in inside)
