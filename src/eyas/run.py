"""A whole run: what the user asks for, what follows from weights, data and machine, and doing it.

This is the only place that knows all parts.

    run = Run(model=Path("base.pth"), data=Path("data.jsonl"), method=PiSSA(rank=32))
    for event in train(run):
        ...
"""

import dataclasses
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

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
    Corpus,
    Share,
    Tokenizer,
    is_tokens,
    load_corpus,
    one_pass,
    split_share,
    step_count,
    summarize,
    tokenizer_for,
    tokenizer_of_tokens,
)
from eyas.data.ahead import made_ahead
from eyas.data.batches import batches
from eyas.data.lint import Linter
from eyas.data.workers import available_cores
from eyas.errors import UserError
from eyas.generation.sampling import Sampling
from eyas.generation.stream import generate
from eyas.merging import Merged, load_adapted, merge
from eyas.models import Model, load
from eyas.models.fingerprint import fingerprint
from eyas.observe.facts import hardware, versions
from eyas.observe.flops import Utilization, product_rate, utilization_of
from eyas.observe.metrics import METRICS, Sink, held_out_losses
from eyas.observe.watching import watching
from eyas.quant import cast_frozen, codes_hash, place
from eyas.resume import check_unchanged, checkpoint_of, data_fingerprint, differences
from eyas.settings import SETTINGS, Precision, Run, flat, run_to_mapping
from eyas.settings import read_run as read_run
from eyas.training.checkpoint import (
    Checkpoint,
    best_checkpoint,
    checkpoint_path,
    locked,
    newest_checkpoint,
    read_checkpoint,
    save_checkpoint,
    states_to_save,
)
from eyas.training.deepspeed import check_deepspeed, spread_by_deepspeed
from eyas.training.engine import Engine, device_of, spread
from eyas.training.events import Event, Finished, Sampled, Step
from eyas.training.interrupt import Asked, interruptible
from eyas.training.loop import Around, Progress
from eyas.training.loop import train as train_on
from eyas.training.memory import predict
from eyas.training.optim import Optimizer
from eyas.training.ranks import Ranks

_SPLIT_SEED = 0  # not the run's: runs with other seeds are compared on the same documents
_TYPES = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
_ALONE = Ranks()
_SAMPLED, _TURN_ENDS = 100, ("\n\nUser:",)
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
    linter: Linter  # has seen the training data
    ranks: Ranks = field(default_factory=Ranks)

    @property
    def steps(self) -> int:
        assert self.run.loop.steps is not None
        return self.run.loop.steps

    @property
    def trained_parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)

    @cached_property
    def utilization(self) -> Utilization | None:
        """How well the machine is used can be told by this; all ranks have to ask for it first."""
        if not self.run.watch.mfu:
            return None
        device = self.model.ln_out.weight.device
        (rate,) = self.ranks.sums(product_rate(self.model.dtype, device))
        return utilization_of(self.model, rate)

    def data_facts(self) -> dict[str, object]:
        """What the data are, for the report."""
        summary = summarize(self.corpus, self.run.batch.ctx, self.run.batch.long)
        held_out = len(self.held_out) if self.held_out else 0
        return {**dataclasses.asdict(summary), "held_out_documents": held_out}

    def predicted_bytes(self) -> dict[str, int]:
        """Memory at the peak of a step, by part."""
        lengths = self.corpus.offsets[1:] - self.corpus.offsets[:-1]
        whole_rows = self.run.batch.dataload in ("pack", "get")
        longest = int(lengths.sum() if whole_rows else lengths.max())
        return predict(self.model, self.run.batch, self.run.loop, longest)


def prepare(run: Run, ranks: Ranks = _ALONE) -> Prepared:
    """Loads model and data, resolves every default and attaches what is trained.

    Where the run directory has a checkpoint of this run, the adapter is the one saved there.
    ranks: the processes that train together, which all prepare; they have met already.
    Raises UserError for anything wrong with model, data, settings or directory.
    """
    device = device_of(run.engine, ranks)
    torch.manual_seed(run.seed + ranks.rank)  # of dropout; the adapter has a generator of its own
    precision = _precision(run, device)
    if run.engine.engine == "deepspeed":
        chunked_state = run.method.name == "state" and run.loop.chunk is not None
        check_deepspeed(run.engine, run.optim, run.frozen, precision, chunked_state)
    model = load(run.model, dtype=_TYPES[precision])
    base = fingerprint(model.state_dict())
    base_parameters = sum(p.numel() for p in model.parameters())
    named = run.tokenizer and os.path.expanduser(run.tokenizer)
    tokens_only = all(is_tokens(source, run.reading) for source in run.data)
    known = tokenizer_of_tokens if tokens_only else tokenizer_for
    tokenizer = known(model.vocab_size, run.model, named)
    several = max(1, available_cores() // ranks.beside)
    linter = Linter(rendered=run.reading.mask == "auto")
    corpus = load_corpus(
        run.data,
        tokenizer,
        model.vocab_size,
        run.reading,
        run.weights,
        several,
        linter.watching,
    )
    held_out = None
    if run.validation:
        held_out = load_corpus(
            [run.validation], tokenizer, model.vocab_size, run.reading, processes=several
        )
    elif run.validation_share:
        corpus, held_out = split_share(corpus, run.validation_share, _SPLIT_SEED)
    if held_out:
        one_pass(held_out, run.batch)  # says what is wrong with it now, not hours later
    run = dataclasses.replace(
        _resolved(run, corpus, ranks.world), precision=precision, tokenizer=_which(tokenizer, named)
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
        linter,
        ranks,
    )


def train(run: Run | Prepared) -> Iterator[Event]:
    """Trains and yields what happens; goes on where the run directory's last checkpoint is.

    Ctrl-C and SIGTERM end it after the step in hand, with a checkpoint; a second one at once.
    Raises UserError where another process has trained there since the run was prepared.
    """
    prepared = run if isinstance(run, Prepared) else prepare(run)
    with _alone(prepared), interruptible() as asked:
        yield from _events(prepared, asked)


@contextmanager
def _alone(prepared: Prepared) -> Iterator[None]:
    """No other process trains in the run's directory meanwhile."""
    if not prepared.ranks.first:
        yield
        return
    with locked(prepared.out):
        check_unchanged(prepared.out, prepared.checkpoint)
        yield


def _events(prepared: Prepared, asked: Callable[[], Asked]) -> Iterator[Event]:
    run, ranks, checkpoint = prepared.run, prepared.ranks, prepared.checkpoint
    if ranks.first:
        write_toml(run_to_mapping(run), prepared.out / SETTINGS)
    engine, optimizer = _engine(prepared)
    progress = checkpoint.progress if checkpoint else Progress()
    if checkpoint:
        checkpoint.restore(optimizer, ranks.rank)
    elif run.adapter and run.keep_optimizer:
        _take_optimizer(run.adapter, optimizer)
    share, held_out = Share(ranks.rank, ranks.world), prepared.held_out
    data = batches(prepared.corpus, run.batch, run.seed, progress.cursor, share)
    metrics_path = prepared.out / METRICS
    around = Around(
        lambda reached: _save(prepared, engine, optimizer, reached),
        (lambda: one_pass(held_out, run.batch, share)) if held_out else None,
        asked,
        _samples(prepared) if run.prompts else None,
        owed=progress.step not in held_out_losses(metrics_path, progress.step),
    )
    with _watched(prepared, progress.step) as sink:
        for event in train_on(engine, optimizer, made_ahead(data), run.loop, progress, around):
            sink(event)
            if isinstance(event, Finished) and event.reason != "interrupted":
                _finish(prepared, engine, event.step)
            yield event


def _samples(prepared: Prepared) -> Callable[[int], Iterator[Sampled]] | None:
    """What the model makes of the run's prompts, always with the same seed.

    The first rank alone can do it where it holds the whole model.
    """
    run, model, tokenizer = prepared.run, prepared.model, prepared.tokenizer
    if run.engine.sharded and (prepared.ranks.world > 1 or run.engine.engine == "deepspeed"):
        return None

    def samples(step: int) -> Iterator[Sampled]:
        if not prepared.ranks.first:
            return
        model.eval()
        for prompt in run.prompts:
            pieces = generate(model, tokenizer, prompt, Sampling(), _SAMPLED, _TURN_ENDS, run.seed)
            yield Sampled(step, prompt, "".join(pieces))
        model.train()

    return samples


def _engine(prepared: Prepared) -> tuple[Engine, Optimizer]:
    run = prepared.run
    if run.precision == "tf32":
        torch.set_float32_matmul_precision("high")
    loop = run.loop
    if run.engine.engine == "deepspeed":
        return spread_by_deepspeed(
            prepared.model,
            run.engine,
            run.optim,
            prepared.ranks,
            loop.logit_l2,
            loop.recompute,
            loop.chunked,
        )
    engine = spread(
        prepared.model, run.engine, prepared.ranks, loop.logit_l2, loop.recompute, loop.chunked
    )
    half = run.precision == "fp16"
    return engine, Optimizer(prepared.model, run.optim, engine.shares_optimizer, half)


def _save(prepared: Prepared, engine: Engine, optimizer: Optimizer, reached: Progress) -> Path:
    """Writes a checkpoint, on the first rank, from what all ranks hold."""
    assert prepared.run.loop.keep
    made = _adapter(prepared, engine, reached.step)
    states = states_to_save(optimizer, prepared.ranks)
    path = checkpoint_path(prepared.out, reached.step)
    if prepared.ranks.first:
        keep = prepared.run.loop.keep
        save_checkpoint(prepared.out, reached, prepared.data, made, states, keep)
    prepared.ranks.wait()
    return path


def _finish(prepared: Prepared, engine: Engine, step: int) -> None:
    """Writes the result: what was trained last, or where patience ended it, what was best."""
    made = _adapter(prepared, engine, step)
    if not prepared.ranks.first:
        return
    best = best_checkpoint(prepared.out) if prepared.run.loop.patience else None
    save_adapter(best.adapter() if best else made, prepared.out / "adapter.safetensors")


def _adapter(prepared: Prepared, engine: Engine, step: int) -> Adapter:
    run, base, codes = prepared.run, prepared.base, prepared.codes
    made = describe(prepared.model, run.method, base, run.seed, step, run.frozen, codes)
    return dataclasses.replace(made, tensors=engine.whole(made.tensors))


@contextmanager
def _watched(prepared: Prepared, step: int) -> Iterator[Sink]:
    """All that writes down what happens, on the first rank; `step` is where the run goes on."""
    utilization = prepared.utilization
    if not prepared.ranks.first:
        yield lambda _: None
        return
    device = prepared.model.ln_out.weight.device
    facts = {
        "Data": prepared.data_facts(),
        "Hardware": hardware(device),
        "Versions": versions(),
    }
    settings = flat(run_to_mapping(prepared.run))
    with watching(prepared.out, prepared.run.watch, settings, facts, step, utilization) as sink:
        yield sink


def timed_step(prepared: Prepared) -> Step:
    """One step of the run on its first batches, for an estimate; the model is changed by it."""
    run = prepared.run
    once = dataclasses.replace(run.loop, steps=1, save_every=2, validate_every=2)
    engine, optimizer = _engine(prepared)
    data = batches(prepared.corpus, run.batch, run.seed)
    around = Around(lambda _: prepared.out)
    events = train_on(engine, optimizer, data, once, Progress(), around)
    return next(event for event in events if isinstance(event, Step))


def adapter_at(path: Path) -> Adapter:
    """The adapter of a run (its newest checkpoint's, finished or not), a checkpoint or a file."""
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give a run's --out, or an adapter file")
    if not path.is_dir():
        return load_adapter(path)
    return _checkpoint_at(path).adapter()


def _checkpoint_at(path: Path) -> Checkpoint:
    """The checkpoint in this folder, or of the run that it is the newest one.

    Of a run that is ended by patience it is the best one: what is behind that is not wanted.
    """
    if not (path / SETTINGS).exists():
        return read_checkpoint(path)
    checkpoint = newest_checkpoint(path)
    if checkpoint is None:
        raise UserError(f"{path}: this run has no checkpoint yet; let it train on")
    if read_run(path).loop.patience and checkpoint.progress.best_step:
        return best_checkpoint(path) or checkpoint
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


def _resolved(run: Run, corpus: Corpus, world: int) -> Run:
    """The run with every value filled in that was left to weights, data and machine."""
    config = run.loop
    steps = config.steps or step_count(
        corpus, run.batch, config.accumulate, run.seed, config.epochs or 1.0, world
    )
    every = max(1, -(-steps // 10))
    rate = run.optim.lr if run.optim.lr is not None else run.method.learning_rate
    names = f"{run.model.stem}-{run.data[0].stem}-{run.method.name}"
    return dataclasses.replace(
        run,
        model=run.model.resolve(),
        data=tuple(map(resolved, run.data)),
        validation=resolved(run.validation) if run.validation else None,
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
        engine=dataclasses.replace(run.engine, devices=-(-world // run.engine.num_nodes)),
    )


def resolved(source: Path) -> Path:
    """The absolute path of data; what is no file here (a data set's name) stays as it is."""
    beside = source.parent.glob(f"{source.name}.*") if source.parent.is_dir() else ()
    return source.resolve() if source.exists() or any(beside) else source


def _precision(run: Run, device: torch.device) -> Precision:
    if run.precision == "auto":
        return "fp32" if device.type == "cpu" else "bf16"
    return run.precision


def _which(tokenizer: Tokenizer, given: str | None) -> str | None:
    """The tokenizer's name, or its file; None for a file that was found beside the model."""
    if tokenizer.name not in _TOKENIZERS_OF_FILES:
        return tokenizer.name
    return str(Path(given).resolve()) if given else None
