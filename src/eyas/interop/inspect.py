"""What any file is: by its first bytes, its tensors' names or its settings; never read whole."""

import json
from pathlib import Path

import numpy as np

from eyas.adapters import described
from eyas.config import did_you_mean
from eyas.data.binidx import is_binidx
from eyas.data.binidx import read as read_binidx
from eyas.errors import UserError
from eyas.interop import gguf, peft
from eyas.interop.convert import is_own
from eyas.interop.report import Report, amount, contents, some
from eyas.interop.tensors import describe, describe_adapter
from eyas.models import read_tensors
from eyas.run import adapter_at, read_run
from eyas.training.checkpoint import newest_checkpoint, read_checkpoint

_HEAD = 4096
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_LFS = b"version https://git-lfs"
_PAGE = (b"<!doctype html", b"<html")
_TEXTS = {".jsonl": "training data, a record a line", ".txt": "training data, one document"}


def inspect(path: Path) -> Report:
    """Raises UserError where there is no such file, and where it is damaged."""
    if path.is_dir():
        return _folder(path)
    if not path.exists() and not is_binidx(path):
        near = did_you_mean(path.name, (p.name for p in path.parent.glob("*")))
        raise UserError(f"{path}: no such file or folder{near or '; check the path'}")
    head = _head(path) if path.exists() else b""
    if head.startswith(gguf.MAGIC):
        return gguf.describe(path)
    if report := _not_the_file(path, head):
        return report
    if path.suffix.lower() == ".safetensors" or head.startswith((_ZIP, _PICKLE)):
        return describe_adapter(path, adapter_at(path)) if is_own(path) else _tensors(path)
    if is_binidx(path):
        return _binidx(path)
    return _text(path, head)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error


def _folder(path: Path) -> Report:
    names = sorted(inner.name for inner in path.iterdir())
    if "run.toml" in names:
        return _run(path)
    if "progress.json" in names:
        return _checkpoint(path)
    if peft.CONFIG in names:
        return _peft_folder(path)
    if texts := [name for name in names if name.endswith(".txt")]:
        return Report(
            f"a folder with {len(texts)} .txt files, each one document of training data",
            (some(texts),),
            f"eyas train MODEL {path} --dry-run",
        )
    return Report(
        "a folder that is neither a run, a checkpoint, an adapter nor training data",
        (f"{len(names)} files: {some(names)}",) if names else ("it is empty",),
        "eyas inspect one of the files in it",
    )


def _run(path: Path) -> Report:
    run, checkpoint = read_run(path), newest_checkpoint(path)
    done = (path / "adapter.safetensors").exists()
    reached = f"step {checkpoint.progress.step if checkpoint else 0:,}"
    steps = f" of {run.loop.steps:,}" if run.loop.steps else ""
    parts = f" + {' '.join(run.train_parts)}" if run.train_parts else ""
    quant = f", over {run.frozen.quant}" if run.frozen.quant != "none" else ""
    return Report(
        f"a run of eyas: {described(run.method)}{parts}{quant}",
        (
            f"model {run.model}{'' if run.model.exists() else ' (not there any more)'}",
            f"data {run.data}",
            f"{'done' if done else 'not done'}: {reached}{steps}",
            f"newest checkpoint: {checkpoint.path if checkpoint else 'none yet'}",
        ),
        f"eyas merge {path}; eyas generate {path} --prompt TEXT"
        if done
        else f"eyas train {path / 'run.toml'} goes on with it"
        + (f"; eyas merge {path} takes what is there" if checkpoint else ""),
    )


def _checkpoint(path: Path) -> Report:
    checkpoint = read_checkpoint(path)
    report = describe_adapter(path, checkpoint.adapter())
    return Report(
        f"a checkpoint of a run, after step {checkpoint.progress.step:,}",
        (report.kind, *report.facts),
        f"eyas merge {path} --base MODEL; eyas train MODEL DATA --adapter {path}",
    )


def _peft_folder(path: Path) -> Report:
    config, tensors = peft.read_config(path), peft.read_folder(path)
    shown = ("r", "lora_alpha", "use_rslora", "init_lora_weights", "init_weights", "mini_r")
    settings = ", ".join(f"{name} {config[name]}" for name in shown if name in config)
    return Report(
        f"an adapter of HF peft: {config['peft_type']} ({settings})",
        (contents(tensors), some(tensors)),
        f"eyas convert {path} adapter.safetensors --base MODEL"
        + (" --init FOLDER" if peft.changed_base(config) else ""),
    )


def _not_the_file(path: Path, head: bytes) -> Report | None:
    """What is found in the place of a file that was to be downloaded."""
    if path.exists() and not head:
        return Report("an empty file", (), "download or make it again")
    if head.startswith(_LFS):
        size = head.partition(b"\nsize ")[2].split(b"\n")[0].decode(errors="replace")
        return Report(
            "a Git LFS pointer, not the file itself",
            (f"the file has {size} bytes",),
            "git lfs pull, or download the file from its page",
        )
    if head.lstrip().lower().startswith(_PAGE):
        return Report(
            "an HTML page, not a file of weights or data", (), "download the file, not its page"
        )
    return None


def _tensors(path: Path) -> Report:
    return describe(path, read_tensors(path))


def _binidx(path: Path) -> Report:
    found = read_binidx(path)
    lengths = np.diff(found.offsets)
    prefix = path.with_suffix("") if path.suffix in (".bin", ".idx") else path
    return Report(
        f"training data, tokens in a binidx pair ({found.tokens.dtype})",
        (
            f"{len(lengths):,} documents, {int(lengths.sum()):,} tokens",
            f"longest {int(lengths.max()):,} tokens, mean {lengths.mean():,.0f}",
        ),
        f"eyas train MODEL {prefix} --dry-run",
    )


def _text(path: Path, head: bytes) -> Report:
    size = amount(path.stat().st_size)
    if path.suffix == ".toml":
        return Report("settings, as eyas train takes them", (size,), f"eyas train {path}")
    if path.suffix in _TEXTS:
        facts = (size, *_keys(head)) if path.suffix == ".jsonl" else (size,)
        return Report(_TEXTS[path.suffix], facts, f"eyas train MODEL {path} --dry-run")
    return Report(
        "a file of no kind that eyas knows",
        (size, f"it begins with {head[:16]!r}"),
        "eyas reads .pth, .safetensors, .jsonl, .txt, binidx pairs, and the folders of runs and "
        "of HF peft",
    )


def _keys(head: bytes) -> list[str]:
    """The keys of the first record, where it is short enough to be seen."""
    line, ended, _ = head.removeprefix(b"\xef\xbb\xbf").partition(b"\n")
    try:
        record = json.loads(line)
    except ValueError:
        return ["its first line is no JSON"] if ended else []
    return [f"keys of the first record: {some(record, 8)}"] if isinstance(record, dict) else []
