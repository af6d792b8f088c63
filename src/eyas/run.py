"""A whole run: what the user asks for, what follows from weights, data and machine, and doing it.

This is the only place that knows all parts.

    run = Run(model=Path("base.pth"), data=Path("data.jsonl"), method=PiSSA(rank=32))
    for event in train(run):
        ...
"""

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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
from eyas.config import write_toml
from eyas.data import (
    Batch,
    Corpus,
    Tokenizer,
    is_tokens,
    load_corpus,
    one_pass,
    split_share,
    steps_per_epoch,
    tokenizer_for,
    tokenizer_of_tokens,
)
from eyas.data.batches import batches
from eyas.errors import UserError
from eyas.merging import Merged, load_adapted, merge
from eyas.models import Model, load
from eyas.models.fingerprint import fingerprint
from eyas.observe.metrics import held_out_losses, open_metrics
from eyas.quant import cast_frozen, codes_hash, place
from eyas.resume import check_unchanged, checkpoint_of, data_fingerprint, differences
from eyas.settings import SETTINGS, Run, run_to_mapping
from eyas.settings import read_run as read_run
from eyas.training.checkpoint import (
    Checkpoint,
    locked,
    newest_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from eyas.training.events import Event, Finished, Step
from eyas.training.interrupt import interruptible
from eyas.training.loop import Progress
from eyas.training.loop import train as loop
from eyas.training.memory import predict
from eyas.training.optim import Optimizer

_SPLIT_SEED = 0  # not the run's: runs with other seeds are compared on the same documents
_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_TOKENIZERS_OF_FILES = ("world-file", "hf", "ids")  # of which the name does not say which one


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
    data: str  # fingerprint of both
    checkpoint: Checkpoint | None

    @property
    def steps(self) -> int:
        assert self.run.loop.steps is not None
        return self.run.loop.steps

    @property
    def trained_parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)

    def predicted_bytes(self) -> dict[str, int]:
        """Memory at the peak of a step, by part."""
        longest = int((self.corpus.offsets[1:] - self.corpus.offsets[:-1]).max())
        return predict(self.model, self.run.batch, self.run.loop, longest)


def prepare(run: Run) -> Prepared:
    """Loads model and data, resolves every default and attaches what is trained.

    Where the run directory has a checkpoint of this run, the adapter is the one saved there.
    Raises UserError for anything wrong with model, data, settings or directory.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(run.seed)
    precision = _precision(run, device)
    model = load(run.model, dtype=_TYPES[precision])
    base = fingerprint(model.state_dict())
    base_parameters = sum(p.numel() for p in model.parameters())
    named = run.tokenizer and os.path.expanduser(run.tokenizer)
    known = tokenizer_of_tokens if is_tokens(run.data) else tokenizer_for
    tokenizer = known(model.vocab_size, run.model, named)
    corpus = load_corpus(run.data, tokenizer, model.vocab_size, run.mask)
    held_out = None
    if run.validation:
        held_out = load_corpus(run.validation, tokenizer, model.vocab_size, run.mask)
    elif run.validation_share:
        corpus, held_out = split_share(corpus, run.validation_share, _SPLIT_SEED)
    if held_out:
        one_pass(held_out, run.batch)  # says what is wrong with it now, not hours later
    run = dataclasses.replace(
        _resolved(run, corpus), precision=precision, tokenizer=_which(tokenizer, named)
    )
    assert run.out is not None
    data = data_fingerprint(corpus, held_out)
    checkpoint = checkpoint_of(run, base, data)
    if checkpoint or run.adapter:
        adapter = checkpoint.adapter() if checkpoint else _starting_adapter(run, base)
        restore_adapter(model, adapter, device)
        free_parts(model, run.train_parts)
    else:
        attach(
            model,
            run.method,
            train_parts=run.train_parts,
            targets=run.targets,
            frozen=run.frozen,
            seed=run.seed,
            device=device,
        )
    cast_frozen(model, run.frozen)
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
        data,
        checkpoint,
    )


def train(run: Run | Prepared) -> Iterator[Event]:
    """Trains and yields what happens; goes on where the run directory's last checkpoint is.

    Ctrl-C and SIGTERM end it after the step in hand, with a checkpoint; a second one at once.
    Raises UserError where another process has trained there since the run was prepared.
    """
    prepared = run if isinstance(run, Prepared) else prepare(run)
    with locked(prepared.out), interruptible() as stop:
        check_unchanged(prepared.out, prepared.checkpoint)
        yield from _events(prepared, stop)


def _events(prepared: Prepared, stop: Callable[[], int]) -> Iterator[Event]:
    run, model, checkpoint = prepared.run, prepared.model, prepared.checkpoint
    assert run.loop.keep
    write_toml(run_to_mapping(run), prepared.out / SETTINGS)
    optimizer = Optimizer(model, run.optim)
    progress = checkpoint.progress if checkpoint else Progress()
    if checkpoint:
        checkpoint.restore(optimizer)
    elif run.adapter and run.keep_optimizer:
        _take_optimizer(run.adapter, optimizer)
    data = batches(prepared.corpus, run.batch, run.seed, progress.cursor)
    metrics_path = prepared.out / "metrics.jsonl"
    owed = progress.step not in held_out_losses(metrics_path, progress.step)

    def adapter(step: int) -> Adapter:
        codes = prepared.codes
        return describe(model, run.method, prepared.base, run.seed, step, run.frozen, codes)

    def save(reached: Progress) -> Path:
        made = adapter(reached.step)
        keep = run.loop.keep
        return save_checkpoint(prepared.out, reached, prepared.data, made, optimizer, keep)

    def held_out() -> Iterable[Batch]:
        assert prepared.held_out is not None
        return one_pass(prepared.held_out, run.batch)

    with open_metrics(metrics_path, progress.step) as metrics:
        for event in loop(
            model,
            optimizer,
            data,
            run.loop,
            progress,
            save,
            held_out if prepared.held_out else None,
            stop,
            owed,
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


def adapter_at(path: Path) -> Adapter:
    """The adapter of a run (its newest checkpoint's, finished or not), a checkpoint or a file."""
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give a run's --out, or an adapter file")
    if not path.is_dir():
        return load_adapter(path)
    return _checkpoint_at(path).adapter()


def _checkpoint_at(path: Path) -> Checkpoint:
    """The checkpoint in this folder, or the newest one of the run that it is."""
    if not (path / SETTINGS).exists():
        return read_checkpoint(path)
    checkpoint = newest_checkpoint(path)
    if checkpoint is None:
        raise UserError(f"{path}: this run has no checkpoint yet; let it train on")
    return checkpoint


def steps_done(path: Path) -> tuple[int, int] | None:
    """How many steps of how many a run directory has behind it; None for anything else."""
    if not (path / SETTINGS).exists():
        return None
    return _checkpoint_at(path).progress.step, read_run(path).loop.steps or 0


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


def open_model(path: Path, base: Path | None = None) -> tuple[Model, Path, str | None]:
    """A model file, or a run's base with its newest adapter; the base's path; its tokenizer.

    base: where that is now, if it was moved.
    """
    if not path.is_dir():
        if base:
            raise UserError(f"{path}: is a model itself; --base goes with a run")
        return load(path), path, None
    run = read_run(path)
    base = base or run.model
    return load_adapted(base, adapter_at(path)), base, run.tokenizer


def _starting_adapter(run: Run, base: str) -> Adapter:
    """The adapter that a new run goes on from. Raises UserError where it is another kind."""
    assert run.adapter
    adapter = adapter_at(run.adapter)
    if adapter.base != base:
        raise UserError(
            f"{run.adapter}: trained over another base model ({adapter.shape}); "
            "give that one as the model"
        )
    if run.targets:
        raise UserError(f"{run.adapter}: has layers of its own; leave --targets out")
    its = dataclasses.replace(run, method=adapter.method, frozen=adapter.frozen)
    if differing := differences(its, run):
        raise UserError(
            f"{run.adapter}: is another kind of adapter ({'; '.join(differing)}); leave these "
            "options out to take the adapter's"
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
    passes = 1.0 if config.epochs is None else config.epochs
    steps = config.steps or max(1, round(each * passes))
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
            epochs=None,
            save_every=config.save_every or every,
            validate_every=config.validate_every or config.save_every or every,
        ),
    )


def _precision(run: Run, device: torch.device) -> Literal["fp32", "bf16"]:
    if run.precision == "auto":
        return "fp32" if device.type == "cpu" else "bf16"
    return run.precision


def _which(tokenizer: Tokenizer, given: str | None) -> str | None:
    """The tokenizer's name, or its file; None for a file that was found beside the model."""
    if tokenizer.name not in _TOKENIZERS_OF_FILES:
        return tokenizer.name
    return str(Path(given).resolve()) if given else None
