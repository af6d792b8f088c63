"""What a server offers under a name each: a base, adapters over it, and states to begin with.

The base's weights are in memory once: every adapted model is a model of its own whose frozen
tensors are the base's. (An adapter that was trained over a quantized base brings its own codes.)
A state is no other model at all: its rows begin elsewhere and share the base's forward.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from eyas.adapters import Adapter, State, restore_adapter
from eyas.chat.state_file import begin_with, read_state, state_of
from eyas.data.messages import Template
from eyas.data.template import open_template
from eyas.data.tokenizer import Tokenizer, tokenizer_for
from eyas.errors import UserError
from eyas.hub import local_model
from eyas.interop.base import Base, read_base
from eyas.models import Model, empty_model, load
from eyas.models import State as ModelState
from eyas.quant import FrozenConfig, cast_frozen
from eyas.run import adapter_at, read_run
from eyas.settings import SETTINGS

Storage = Literal["file", "fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class Served:
    """A model under its name; the state (batch 1) is what its prompts begin with."""

    name: str
    model: Model
    initial: ModelState
    tokenizer: Tokenizer
    template: Template
    base: str  # name of the base


@dataclass(frozen=True)
class Sources:
    """Where what is served comes from."""

    model: Path  # a model's file or name, or a run
    base: Path | None = None  # of the run, where it was moved
    name: str | None = None
    adapters: tuple[tuple[str, Path], ...] = ()
    states: tuple[tuple[str, Path], ...] = ()
    tokenizer: str | None = None
    template: Path | None = None
    storage: Storage = "file"  # type of the base's weights in memory


def open_served(sources: Sources) -> dict[str, Served]:
    """All that is served by its name, what `sources.model` names first.

    Raises UserError where a file is none of what it should be, was made for another base, or a
    name is given twice.
    """
    adapters, path = list(sources.adapters), local_model(sources.model)
    is_run, tokenizer = path.is_dir(), sources.tokenizer
    if is_run:
        adapters.insert(0, (sources.name or path.resolve().name, path))
        run = read_run(path)
        path, tokenizer = local_model(sources.base or run.model), tokenizer or run.tokenizer
    elif sources.base:
        raise UserError(f"{path}: is a model itself; --base goes with a run")
    name = path.stem if is_run else sources.name or path.stem
    _check_names([name, *(given for given, _ in (*adapters, *sources.states))])
    base = read_base(path)
    model = load(path)
    cast_frozen(model, FrozenConfig(storage=sources.storage))
    plain = Served(
        name,
        model,
        model.initial_state(1),
        tokenizer_for(model.vocab_size, path, tokenizer),
        open_template(sources.template),
        name,
    )
    with torch.no_grad():
        adapted = [_adapted(plain, base, *given, sources) for given in adapters]
        stated = [_stated(plain, base, *given) for given in sources.states]
    order = [*adapted, plain] if is_run else [plain, *adapted]
    return {served.name: served for served in [*order, *stated]}


def sharing(base: Model) -> Model:
    """Another model with the same tensors, not copies, which an adapter can be put into."""
    model = empty_model(base.shape, base.layers()[0].att.backend)
    if hasattr(base.layers()[0].att, "time_state"):
        with torch.device("meta"):
            model.hold_initial_state()
    model.load_state_dict(base.state_dict(), strict=True, assign=True)
    model.dtype = base.dtype
    model.requires_grad_(False)
    model.eval()
    return model


def _adapted(plain: Served, base: Base, name: str, path: Path, sources: Sources) -> Served:
    """The base with an adapter; a tuned state becomes no model of its own."""
    adapter = adapter_at(path)
    if adapter.base != base.fingerprint:
        raise UserError(
            f"{path}: was trained over another model ({adapter.shape}) than {base.path}; give "
            "that one as the model"
        )
    tokenizer, template = plain.tokenizer, plain.template
    if (path / SETTINGS).exists():
        run = read_run(path)
        if run.tokenizer and not sources.tokenizer:
            tokenizer = tokenizer_for(plain.model.vocab_size, base.path, run.tokenizer)
        if run.reading.template:
            template = open_template(run.reading.template)
    if _is_state(adapter):
        model, initial = plain.model, _initial(plain.model, adapter.tensors, path)
    else:
        model = sharing(plain.model)
        restore_adapter(model, adapter)
        _share_again(model, plain.model, adapter)
        model.requires_grad_(False)
        model.eval()
        initial = model.initial_state(1)
    return Served(name, model, initial, tokenizer, template, plain.name)


def _share_again(model: Model, base: Model, adapter: Adapter) -> None:
    """Puts the base's tensors back where quantizing has copied them, unless they were trained."""
    own = dict(base.named_parameters())
    for name, _ in list(model.named_parameters()):
        if name in own and name not in adapter.tensors:
            path, _, last = name.rpartition(".")
            setattr(model.get_submodule(path), last, own[name])


def _stated(plain: Served, base: Base, name: str, path: Path) -> Served:
    """The base with a state: that of a run of the method `state`, or of a file."""
    states, owner = state_of(adapter_at(path), path) if path.is_dir() else read_state(path)
    if owner not in (None, base.fingerprint):
        raise UserError(f"{path}: was tuned over another model than {base.path}; give that one")
    initial = _initial(plain.model, states, path)
    return Served(name, plain.model, initial, plain.tokenizer, plain.template, plain.name)


def _is_state(adapter: Adapter) -> bool:
    """Whether it is an initial state and nothing else, over the base as it is."""
    only = all(name.endswith(".time_state") for name in adapter.tensors)
    return isinstance(adapter.method, State) and only and not adapter.quantized()


def _initial(model: Model, states: Mapping[str, torch.Tensor], path: Path) -> ModelState:
    """What begins with these wkv states; raises UserError where they do not fit the model."""
    begun = sharing(model)
    begin_with(begun, states, path)
    return begun.initial_state(1)


def _check_names(names: list[str]) -> None:
    for name in names:
        if not name or "/" in name or any(c.isspace() for c in name):
            raise UserError(f"the name {name!r} is none for a model; take letters, digits and -._")
        if names.count(name) > 1:
            raise UserError(f"the name {name!r} is given twice; name each adapter and state apart")
