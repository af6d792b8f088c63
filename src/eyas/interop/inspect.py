"""What any file is: by its first bytes, its tensors' names or its settings; never read whole."""

from pathlib import Path

from eyas.adapters import described
from eyas.config import did_you_mean
from eyas.data.binidx import is_binidx
from eyas.data.reading import ACCEPTED
from eyas.errors import UserError
from eyas.interop import gguf, peft
from eyas.interop.convert import is_own
from eyas.interop.data import describe_data
from eyas.interop.report import Report, amount, contents, some
from eyas.interop.tensors import describe, describe_adapter
from eyas.models import read_tensors
from eyas.run import adapter_at, read_run
from eyas.training.checkpoint import newest_checkpoint, read_checkpoint

_HEAD = 4096
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_LFS = b"version https://git-lfs"
_PAGE = (b"<!doctype html", b"<html")


def inspect(path: Path) -> Report:
    """Raises UserError where there is no such file, and where it is damaged."""
    return _other_than_data(path) or describe_data(path) or _unknown(path)


def is_data(path: Path) -> bool:
    """Whether it is training data. Raises UserError as `inspect`."""
    return _other_than_data(path) is None and describe_data(path) is not None


def _other_than_data(path: Path) -> Report | None:
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        if describe_data(path):
            return None
        near = did_you_mean(path.name, (p.name for p in path.parent.glob("*")))
        raise UserError(f"{path}: no such file or folder{near or '; check the path'}")
    if is_binidx(path) and path.with_suffix(".idx").exists():
        return None  # its tokens may begin like anything
    head = _head(path)
    if head.startswith(gguf.MAGIC):
        return gguf.describe(path)
    if report := _not_the_file(head):
        return report
    if path.suffix.lower() == ".safetensors" or head.startswith((_ZIP, _PICKLE)):
        return describe_adapter(path, adapter_at(path)) if is_own(path) else _tensors(path)
    if path.suffix == ".toml":
        size = amount(path.stat().st_size)
        return Report("settings, as eyas train takes them", (size,), f"eyas train {path}")
    return None


def _unknown(path: Path) -> Report:
    if path.is_dir():
        names = sorted(inner.name for inner in path.iterdir())
        return Report(
            "a folder that is neither a run, a checkpoint, an adapter nor training data",
            (f"{len(names)} files: {some(names)}",) if names else ("it is empty",),
            "eyas inspect one of the files in it",
        )
    return Report(
        "a file of no kind that eyas knows",
        (amount(path.stat().st_size), f"it begins with {_head(path)[:16]!r}"),
        f"eyas reads .pth and .safetensors, runs and folders of HF peft, and as data {ACCEPTED}",
    )


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error


def _folder(path: Path) -> Report | None:
    names = sorted(inner.name for inner in path.iterdir())
    if "run.toml" in names:
        return _run(path)
    if "progress.json" in names:
        return _checkpoint(path)
    if peft.CONFIG in names:
        return _peft_folder(path)
    return None


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
            f"data {', '.join(map(str, run.data))}",
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


def _not_the_file(head: bytes) -> Report | None:
    """What is found in the place of a file that was to be downloaded."""
    if not head:
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
