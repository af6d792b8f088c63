"""Going on in a run directory: whether what it holds is the run that is asked for.

Settings are compared by value. Model, data and held-out data are compared by what they hold,
wherever they lie and however they are spelled; so a run may be moved, with or without them.
"""

import hashlib
from pathlib import Path

import numpy as np

from eyas.config import fields_of
from eyas.data import Corpus, ReadConfig
from eyas.errors import UserError
from eyas.observe.watching import WatchConfig
from eyas.settings import SETTINGS, Run, flat, read_run, run_to_mapping
from eyas.training.checkpoint import Checkpoint, newest_checkpoint

# What may be changed between two parts of one run, as it does not change the past.
_FREE = {"loop.keep", "loop.save_every", "loop.validate_every", "loop.sample_every"}
_FREE |= {"loop.patience", "loop.max_minutes", "loop.max_tokens", "prompts"}
_FREE |= {"engine.accelerator", "engine.devices", "engine.num_nodes", "engine.strategy"}
_FREE |= {"engine.engine"}
_BY_CONTENT = {"model", "data", "validation", "tokenizer", "out"}
_FREE |= {f"watch.{option.name}" for option in fields_of(WatchConfig)}
_BY_CONTENT |= {f"reading.{option.name}" for option in fields_of(ReadConfig)}
_CHUNK = 1 << 22

_CHOICE = "choose another --out, or remove that directory"


def data_fingerprint(corpus: Corpus, held_out: Corpus | None = None) -> str:
    """A hash of the tokens and of what is trained, without a copy of them."""
    digest = hashlib.sha256()
    for part in (corpus, held_out):
        if part is None:
            continue
        for array, kind in ((part.tokens, "<i4"), (part.trained, "?"), (part.offsets, "<i8")):
            for begin in range(0, len(array), _CHUNK):
                digest.update(array[begin : begin + _CHUNK].astype(np.dtype(kind)).tobytes())
        if part.weights is not None:
            digest.update(part.weights.tobytes())
    return digest.hexdigest()


def checkpoint_of(run: Run, base: str, data: str) -> Checkpoint | None:
    """The checkpoint that this run goes on from; its paths and defaults are resolved.

    base, data: fingerprints. A directory without a checkpoint may become any run's.
    Raises UserError where the directory has another run, or something else, in it.
    """
    out = run.out
    assert out is not None
    refuse_foreign(out, SETTINGS, "run")
    if not (out / SETTINGS).exists():
        return None
    checkpoint = newest_checkpoint(out)
    if checkpoint is None and not (out / "adapter.safetensors").exists():
        return None
    there = read_run(out)
    if differing := _differing(there, run):
        raise UserError(f"{out}: holds another run ({'; '.join(differing)}); {_CHOICE}")
    if checkpoint and checkpoint.data != data:
        compared = _compared(there, run)
        why = "; ".join(
            compared[name] for name in ("reading.mask", "tokenizer") if name in compared
        )
        raise UserError(
            f"{out}: the data, or what is held out, has changed since that run began"
            f"{f' ({why})' if why else ''}; {_CHOICE}"
        )
    if checkpoint and checkpoint.adapter().base != base:
        raise UserError(f"{out}: the base model has changed since that run began; {_CHOICE}")
    return checkpoint


def check_unchanged(out: Path, checkpoint: Checkpoint | None) -> None:
    """Raises UserError where the directory, now locked, has got another newest checkpoint."""
    if newest_checkpoint(out) != checkpoint:
        raise UserError(f"{out}: has been trained in meanwhile; run the same again")


def _differing(there: Run, here: Run) -> list[str]:
    """What makes this another run than that one, in words."""
    names = flat(run_to_mapping(there)).keys() | flat(run_to_mapping(here)).keys()
    names -= _FREE | _BY_CONTENT
    if _rows_of_a_step(there) == _rows_of_a_step(here):
        names -= {"batch.micro_batch", "loop.accumulate"}
    constant = here.optim.schedule == "constant"
    longer = (here.loop.steps or 0) > (there.loop.steps or 0)
    if longer and constant:
        names.discard("loop.steps")  # each step is the same, however many follow
    differing = [text for name, text in _compared(there, here).items() if name in names]
    if longer and not constant:
        differing.append("its learning rates follow from the number of steps")
    return differing


def _rows_of_a_step(run: Run) -> int:
    """However they are spread over processes and micro-batches, a step trains on the same rows."""
    return run.batch.micro_batch * run.loop.accumulate * run.engine.world


def differences(there: Run, here: Run) -> list[str]:
    """The settings that differ between two runs, in words."""
    return list(_compared(there, here).values())


def _compared(there: Run, here: Run) -> dict[str, str]:
    theirs, ours = flat(run_to_mapping(there)), flat(run_to_mapping(here))
    return {
        name: f"{name} is {theirs.get(name, 'not set')} there and {ours.get(name, 'not set')} here"
        for name in sorted(theirs.keys() | ours.keys())
        if theirs.get(name) != ours.get(name)
    }


def refuse_foreign(out: Path, mark: str, what: str) -> None:
    """A folder with other things in it is not ours to write to.

    mark: the file that tells one of ours, which is a `what`. Raises UserError.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file and no folder; choose another --out")
    names = sorted(path.name for path in out.iterdir()) if out.exists() else []
    others = [name for name in names if name != ".lock" and not name.endswith(".tmp")]
    if others and mark not in names:
        raise UserError(f"{out}: holds {others[0]} and is no {what}; choose another --out")
