"""A whole run: what the user asks for, what follows from weights, data and machine, and doing it.

This is the only place that knows all parts.

    run = Run(model=Path("base.pth"), data=Path("data.jsonl"), method=PiSSA(rank=32))
    for event in train(run):
        ...
"""

import dataclasses
import hashlib
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch

from eyas.adapters import (
    Adapter,
    attach,
    describe,
    free_parts,
    load_adapter,
    restore_adapter,
    save_adapter,
)
from eyas.config import read_toml, write_toml
from eyas.data import (
    Batch,
    Corpus,
    Tokenizer,
    load_corpus,
    one_pass,
    split_share,
    steps_per_epoch,
    tokenizer_for,
)
from eyas.data.batches import batches
from eyas.errors import UserError
from eyas.merging import Merged, load_adapted, merge
from eyas.models import Model, load
from eyas.models.fingerprint import fingerprint
from eyas.observe.metrics import open_metrics
from eyas.quant import cast_frozen, codes_hash, place
from eyas.settings import Run, flat, run_from_mapping, run_to_mapping
from eyas.training.checkpoint import (
    Checkpoint,
    locked,
    newest_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from eyas.training.events import Event, Finished, Step
from eyas.training.loop import Progress
from eyas.training.loop import train as loop
from eyas.training.optim import Optimizer

_SETTINGS = "run.toml"
# What may be changed between two parts of one run, as it does not change the past.
_FREE = {"loop.keep", "loop.save_every", "loop.validate_every"}


@dataclass(frozen=True)
class Prepared:
    """A run with all its values resolved, model and data loaded, nothing written yet."""

    run: Run
    out: Path
    model: Model
    base: str  # fingerprint of the base model
    codes: str  # hash of its quantized tensors
    base_parameters: int
    tokenizer: Tokenizer
    corpus: Corpus
    held_out: Corpus | None
    checkpoint: Checkpoint | None

    @property
    def steps(self) -> int:
        assert self.run.loop.steps is not None
        return self.run.loop.steps


def prepare(run: Run) -> Prepared:
    """Loads model and data, resolves every default and attaches what is trained.

    Where the run directory has a checkpoint of this run, the adapter is the one saved there.
    Raises UserError for anything wrong with model, data, settings or directory.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(run.seed)
    model = load(run.model, dtype=_compute_dtype(run, device))
    base = fingerprint(model.state_dict())
    base_parameters = sum(p.numel() for p in model.parameters())
    given = run.tokenizer
    tokenizer = tokenizer_for(model.vocab_size, run.model, given)
    corpus = load_corpus(run.data, tokenizer, model.vocab_size, run.mask)
    held_out = None
    if run.validation:
        held_out = load_corpus(run.validation, tokenizer, model.vocab_size, run.mask)
    elif run.validation_share:
        corpus, held_out = split_share(corpus, run.validation_share, run.seed)
    run = _resolved(run, corpus)
    assert run.out is not None
    checkpoint = _resumable(run, run.out, base, data_fingerprint(corpus))
    if checkpoint or run.adapter:
        adapter = checkpoint.adapter() if checkpoint else _starting_adapter(run, base)
        restore_adapter(model, adapter, device)
        free_parts(model, run.train_parts)
    else:
        cast_frozen(model, run.frozen)
        attach(
            model,
            run.method,
            train_parts=run.train_parts,
            targets=run.targets,
            frozen=run.frozen,
            seed=run.seed,
            device=device,
        )
    place(model, run.frozen, device)
    return Prepared(
        run,
        run.out,
        model,
        base,
        codes_hash(model),
        base_parameters,
        tokenizer,
        corpus,
        held_out,
        checkpoint,
    )


def train(run: Run | Prepared) -> Iterator[Event]:
    """Trains and yields what happens; goes on where the run directory's last checkpoint is.

    Ctrl-C and SIGTERM end it after the step in hand, with a checkpoint; a second one at once.
    """
    prepared = run if isinstance(run, Prepared) else prepare(run)
    with locked(prepared.out), _interruptible() as stopped:
        yield from _events(prepared, stopped)


def _events(prepared: Prepared, stopped: threading.Event) -> Iterator[Event]:
    run, model, checkpoint = prepared.run, prepared.model, prepared.checkpoint
    assert run.loop.keep
    write_toml(run_to_mapping(run), prepared.out / _SETTINGS)
    optimizer = Optimizer(model, run.optim)
    progress = checkpoint.progress if checkpoint else Progress()
    if checkpoint:
        checkpoint.restore(optimizer)
    elif run.adapter and run.keep_optimizer:
        _take_optimizer(run.adapter, optimizer)
    data = batches(prepared.corpus, run.batch, run.seed, progress.cursor)
    data_hash = data_fingerprint(prepared.corpus)

    def adapter(step: int) -> Adapter:
        codes = prepared.codes
        return describe(model, run.method, prepared.base, run.seed, step, run.frozen, codes)

    def save(reached: Progress) -> Path:
        made = adapter(reached.step)
        return save_checkpoint(prepared.out, reached, data_hash, made, optimizer, run.loop.keep)

    def held_out() -> Iterable[Batch]:
        assert prepared.held_out is not None
        return one_pass(prepared.held_out, run.batch)

    with open_metrics(prepared.out / "metrics.jsonl", progress.step) as metrics:
        for event in loop(
            model,
            optimizer,
            data,
            run.loop,
            progress,
            save,
            held_out if prepared.held_out else None,
            stopped.is_set,
        ):
            metrics(event)
            if isinstance(event, Finished) and event.reason == "steps done":
                save_adapter(adapter(event.step), prepared.out / "adapter.safetensors")
            yield event


def timed_step(prepared: Prepared) -> Step:
    """One step of the run on its first batches, for an estimate; the model is changed by it."""
    run = prepared.run
    once = dataclasses.replace(run.loop, steps=1, save_every=2, validate_every=2)
    optimizer = Optimizer(prepared.model, run.optim)
    data = batches(prepared.corpus, run.batch, run.seed)
    events = loop(prepared.model, optimizer, data, once, Progress(), lambda _: prepared.out)
    return next(event for event in events if isinstance(event, Step))


def read_run(path: Path) -> Run:
    """The resolved settings of a run directory. Raises UserError where it is none."""
    settings = path / _SETTINGS
    if not settings.exists():
        raise UserError(
            f"{path}: not a run directory (it has no {_SETTINGS}); give the --out of one"
        )
    return run_from_mapping(read_toml(settings), str(settings))


def adapter_at(path: Path) -> Adapter:
    """The adapter of a run (its newest checkpoint's, finished or not), a checkpoint or a file."""
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give a run's --out, or an adapter file")
    if not path.is_dir():
        return load_adapter(path)
    return _checkpoint_at(path).adapter()


def _checkpoint_at(path: Path) -> Checkpoint:
    """The checkpoint in this folder, or the newest one of the run that it is."""
    if not (path / _SETTINGS).exists():
        return read_checkpoint(path)
    checkpoint = newest_checkpoint(path)
    if checkpoint is None:
        raise UserError(f"{path}: this run has no checkpoint yet; let it train on")
    return checkpoint


def merge_run(
    run: Path,
    out: Path | None = None,
    dtype: torch.dtype | None = None,
    base: Path | None = None,
    overwrite: bool = False,
) -> Merged:
    """Merges a run directory, or an adapter file with its base; see `eyas.merging`.

    By default the file goes beside the adapter and is named after the base.
    """
    if not run.exists():
        raise UserError(f"{run}: no such file or folder; give a run's --out, or an adapter file")
    if base is None:
        if not run.is_dir():
            raise UserError(
                f"{run}: an adapter file alone does not know where its base is; add --base"
            )
        base = read_run(run).model
    adapter = adapter_at(run)
    out = out or (run if run.is_dir() else run.parent) / f"{base.stem}-merged.pth"
    if out.resolve() == base.resolve():
        raise UserError(f"{out}: this is the base model itself; name another --out")
    if out.exists() and not overwrite:
        raise UserError(f"{out}: exists already; add --overwrite, or name another --out")
    return merge(base, adapter, out, dtype)


def open_model(path: Path) -> tuple[Model, Path, str | None]:
    """A model file, or a run's base with its newest adapter; the base's path; its tokenizer."""
    if not path.is_dir():
        return load(path), path, None
    run = read_run(path)
    return load_adapted(run.model, adapter_at(path)), run.model, run.tokenizer


def data_fingerprint(corpus: Corpus) -> str:
    """A hash of the tokens and of what is trained."""
    digest = hashlib.sha256(corpus.tokens.astype("<i4").tobytes())
    digest.update(corpus.trained.tobytes())
    digest.update(corpus.offsets.tobytes())
    return digest.hexdigest()


def _starting_adapter(run: Run, base: str) -> Adapter:
    """The adapter that a new run goes on from. Raises UserError where it is another kind."""
    assert run.adapter
    adapter = adapter_at(run.adapter)
    if adapter.base != base:
        raise UserError(
            f"{run.adapter}: trained over another base model ({adapter.shape}); "
            "give that one as the model"
        )
    for what, theirs, ours in (
        ("method", adapter.method, run.method),
        ("frozen base", adapter.frozen, run.frozen),
    ):
        if theirs != ours:
            raise UserError(
                f"{run.adapter}: its {what} is {theirs}, and this run asks for {ours}; "
                "leave these options out to take the adapter's"
            )
    return adapter


def _take_optimizer(adapter: Path, optimizer: Optimizer) -> None:
    if not adapter.is_dir():
        raise UserError(
            f"{adapter}: an adapter file has no optimizer beside it; give the run or the "
            "checkpoint's folder, or leave --keep-optimizer out"
        )
    _checkpoint_at(adapter).restore_optimizer(optimizer)


def _resolved(run: Run, corpus: Corpus) -> Run:
    """The run with every value filled in that was left to weights, data and machine."""
    config = run.loop
    each = steps_per_epoch(corpus, run.batch, config.accumulate)
    steps = config.steps or max(1, round(each * config.epochs))
    every = max(1, -(-steps // 10))
    rate = run.optim.lr if run.optim.lr is not None else run.method.learning_rate
    names = f"{run.model.stem}-{run.data.stem}-{run.method.name}"
    return dataclasses.replace(
        run,
        model=run.model.resolve(),
        data=run.data.resolve(),
        validation=run.validation.resolve() if run.validation else None,
        adapter=run.adapter.resolve() if run.adapter else None,
        out=(run.out or Path("runs") / names).resolve(),
        optim=dataclasses.replace(run.optim, lr=rate),
        loop=dataclasses.replace(
            config,
            steps=steps,
            save_every=config.save_every or every,
            validate_every=config.validate_every or config.save_every or every,
        ),
    )


def _resumable(run: Run, out: Path, base: str, data: str) -> Checkpoint | None:
    """The checkpoint to go on from. Raises UserError where the directory has another run."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file and no directory; choose another --out")
    if not (out / _SETTINGS).exists():
        _refuse_foreign(out)
        return None
    there, here = flat(run_to_mapping(read_run(out))), flat(run_to_mapping(run))
    differing = [
        f"{name} is {there.get(name, 'not set')} there and {here.get(name, 'not set')} here"
        for name in sorted(there.keys() | here.keys())
        if there.get(name) != here.get(name) and name not in _FREE
    ]
    choice = "choose another --out, or remove that directory"
    if differing:
        raise UserError(f"{out}: holds another run ({'; '.join(differing)}); {choice}")
    checkpoint = newest_checkpoint(out)
    if checkpoint and checkpoint.data != data:
        raise UserError(f"{out}: the data has changed since that run began; {choice}")
    if checkpoint and checkpoint.adapter().base != base:
        raise UserError(f"{out}: the base model has changed since that run began; {choice}")
    return checkpoint


def _refuse_foreign(out: Path) -> None:
    """A directory with other things in it is not ours to write to."""
    names = sorted(path.name for path in out.iterdir()) if out.exists() else []
    others = [name for name in names if name != ".lock" and not name.endswith(".tmp")]
    if others:
        raise UserError(f"{out}: holds {others[0]} and is no run; choose another --out")


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Set by the first SIGINT or SIGTERM; a second one acts as usual."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}

    def ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        stopped.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in signals:
        signal.signal(number, ask)
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _compute_dtype(run: Run, device: torch.device) -> torch.dtype:
    if run.precision == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[run.precision]
