"""A run with every value resolved: model and data loaded, the adapter attached, nothing written."""

import dataclasses
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch

from eyas import wkv
from eyas.adapters import (
    Adapter,
    attach,
    free_parts,
    restore_adapter,
)
from eyas.data import (
    Corpus,
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
from eyas.data.batches import batches
from eyas.data.binidx import is_binidx
from eyas.data.lint import Linter
from eyas.data.workers import available_cores
from eyas.errors import UserError
from eyas.hub import local_model
from eyas.models import Model, load
from eyas.models.fingerprint import fingerprint
from eyas.models.products import multiplies_bfloat16
from eyas.observe.flops import Utilization, product_rate, utilization_of
from eyas.quant import cast_frozen, codes_hash, place
from eyas.resume import checkpoint_of, data_fingerprint, differences
from eyas.run.directory import adapter_at
from eyas.settings import Precision, Run
from eyas.training.checkpoint import (
    Checkpoint,
)
from eyas.training.deepspeed import check_deepspeed
from eyas.training.engine import device_of
from eyas.training.memory import Plan
from eyas.training.ranks import Ranks

_SPLIT_SEED = 0  # not the run's: runs with other seeds are compared on the same documents
_TYPES = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
_ALONE = Ranks()
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
    stored: torch.dtype  # of its weights in the file
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
        dtype = self.model.products or self.model.dtype
        (rate,) = self.ranks.sums(product_rate(dtype, device))
        return utilization_of(self.model, rate)

    def data_facts(self) -> dict[str, object]:
        """What the data are, for the report."""
        summary = summarize(self.corpus, self.run.batch.ctx, self.run.batch.long)
        held_out = len(self.held_out) if self.held_out else 0
        return {**dataclasses.asdict(summary), "held_out_documents": held_out}

    @cached_property
    def plan(self) -> Plan:
        """What the memory of this process follows from."""
        run, model = self.run, self.model
        lengths = self.corpus.offsets[1:] - self.corpus.offsets[:-1]
        whole_rows = run.batch.dataload in ("pack", "get")
        return Plan(
            model.shape,
            self.stored,
            model.dtype,
            run.method,
            run.train_parts,
            run.targets,
            run.frozen,
            run.batch,
            run.loop,
            longest=int(lengths.sum() if whole_rows else lengths.max()),
            device=model.ln_out.weight.device.type,
            products=model.products,
        )


def prepare(run: Run, ranks: Ranks = _ALONE) -> Prepared:
    """Loads model and data, resolves every default and attaches what is trained.

    Where the run directory has a checkpoint of this run, the adapter is the one saved there.
    ranks: the processes that train together, which all prepare; they have met already.
    Raises UserError for anything wrong with model, data, settings or directory.
    """
    device = device_of(run.engine, ranks)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # else each rank would take memory of the first one too
    if run.precision == "tf32":
        torch.set_float32_matmul_precision("high")
    torch.manual_seed(run.seed + ranks.rank)  # of dropout; the adapter has a generator of its own
    precision = _precision(run, device)
    if run.engine.engine == "deepspeed":
        chunked_state = run.method.name == "state" and run.loop.chunk is not None
        check_deepspeed(run.engine, run.optim, run.frozen, precision, chunked_state)
    run = dataclasses.replace(run, model=local_model(run.model))
    model = load(run.model, wkv.fastest(device))
    _set_precision(model, precision, device)
    base = fingerprint(model.state_dict())
    base_parameters = sum(p.numel() for p in model.parameters())
    stored = model.head.dense_weight().dtype
    named = run.tokenizer and os.path.expanduser(run.tokenizer)
    tokens_only = all(is_tokens(source, run.reading) for source in run.data)
    known = tokenizer_of_tokens if tokens_only else tokenizer_for
    tokenizer = known(model.vocab_size, run.model, named)
    linter = Linter(rendered=run.reading.mask == "auto")
    corpus, held_out = _read(run, tokenizer, model.vocab_size, linter, ranks)
    run = dataclasses.replace(
        _resolved(run, corpus, ranks.world), precision=precision, tokenizer=_which(tokenizer, named)
    )
    assert run.out is not None
    data = data_fingerprint(corpus, held_out)
    checkpoint = checkpoint_of(run, base, data)
    _adapt(model, run, checkpoint, base, device)
    return Prepared(
        run,
        run.out,
        model,
        base,
        codes_hash(model),
        base_parameters,
        stored,
        tokenizer,
        corpus,
        held_out,
        data,
        checkpoint,
        linter,
        ranks,
    )


def _read(
    run: Run, tokenizer: Tokenizer, vocab_size: int, linter: Linter, ranks: Ranks
) -> tuple[Corpus, Corpus | None]:
    """The training data, and those held out."""
    several = max(1, available_cores() // ranks.beside)
    reading, watch = run.reading, linter.watching
    corpus = load_corpus(run.data, tokenizer, vocab_size, reading, run.weights, several, watch)
    held_out = None
    if run.validation:
        held_out = load_corpus([run.validation], tokenizer, vocab_size, reading, processes=several)
    elif run.validation_share:
        corpus, held_out = split_share(corpus, run.validation_share, _SPLIT_SEED)
    batches(corpus, run.batch, run.seed)  # as the next line
    if held_out:
        one_pass(held_out, run.batch)  # says what is wrong with it now, not hours later
    return corpus, held_out


def _adapt(
    model: Model, run: Run, checkpoint: Checkpoint | None, base: str, device: torch.device
) -> None:
    """Attaches what is trained, as it was saved or from its start, and moves the model."""
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
    return source.resolve() if source.exists() or is_binidx(source) else source


def _precision(run: Run, device: torch.device) -> Precision:
    if run.precision == "auto":
        return "fp32" if device.type == "cpu" else "bf16"
    return run.precision


def _set_precision(model: Model, precision: Precision, device: torch.device) -> None:
    """The type of activations and of products. On a CPU bf16 is for the products alone, and for
    them where the processor is made for it: the rest would be slower in it, not faster.
    """
    if precision == "bf16" and device.type == "cpu":
        model.products = torch.bfloat16 if multiplies_bfloat16() else None
    else:
        model.dtype = _TYPES[precision]


def _which(tokenizer: Tokenizer, given: str | None) -> str | None:
    """The tokenizer's name, or its file; None for a file that was found beside the model."""
    if tokenizer.name not in _TOKENIZERS_OF_FILES:
        return tokenizer.name
    return str(Path(given).resolve()) if given else None
