"""What a server offers under a name each: a base, adapters over it, and states to begin with.

The base's weights are in memory once (`sharing`). Adapters that change linears alone share the
base's forward too (`forward`); one that trained other tensors, or over other codes of a quantized
base, has a model of its own. A state is no other model at all: its rows begin elsewhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from eyas.adapters import Adapter, State, restore_adapter
from eyas.chat.state_file import begin_with, read_state, state_of
from eyas.data.messages import Template
from eyas.data.template import open_template
from eyas.data.tokenizer import Tokenizer, tokenizer_for
from eyas.errors import UserError
from eyas.hub import local_model
from eyas.interop.base import Base, read_base
from eyas.models import LayerState, Model, load
from eyas.models import State as ModelState
from eyas.quant import FrozenConfig, cast_frozen, quantize_frozen
from eyas.run import adapter_at, read_run
from eyas.serving.forward import Forward
from eyas.serving.sharing import is_shared, share, sharing
from eyas.settings import SETTINGS
from eyas.wkv import fastest


@dataclass(frozen=True)
class Served:
    """A model under its name."""

    name: str
    forward: Forward  # rows of all that have the same one go together
    initial: ModelState  # what prompts begin with, of batch 1
    tokenizer: Tokenizer
    template: Template
    base: str  # name of the base

    @property
    def vocab_size(self) -> int:
        return self.forward.model.vocab_size


@dataclass(frozen=True)
class Sources:
    """Where what is served comes from, and how it is kept."""

    model: Path  # a model's file or name, or a run
    base: Path | None = None  # of the run, where it was moved
    name: str | None = None
    adapters: tuple[tuple[str, Path], ...] = ()
    states: tuple[tuple[str, Path], ...] = ()
    tokenizer: str | None = None
    template: Path | None = None
    frozen: FrozenConfig = FrozenConfig()  # of the base
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


@dataclass(frozen=True)
class _Variant:
    """An adapter or a state over the base, which is dense yet."""

    name: str
    own: tuple[Model, Adapter] | None  # None: it is the base's model
    initial: ModelState | None  # None: its own model's
    tokenizer: Tokenizer
    template: Template


@torch.no_grad()
def open_served(sources: Sources) -> dict[str, Served]:
    """All that is served by its name, what `sources.model` names first.

    Raises UserError where a file is none of what it should be, was made for another base, or a
    name is given twice.
    """
    adapters, path = list(sources.adapters), local_model(sources.model)
    is_run, given = path.is_dir(), sources.tokenizer
    if is_run:
        adapters.insert(0, (sources.name or path.resolve().name, path))
        run = read_run(path)
        path, given = local_model(sources.base or run.model), given or run.tokenizer
    elif sources.base:
        raise UserError(f"{path}: is a model itself; --base goes with a run")
    name = path.stem if is_run else sources.name or path.stem
    _check_names([name, *(other for other, _ in (*adapters, *sources.states))])

    base, model = read_base(path), load(path, fastest(sources.device))
    tokenizer = tokenizer_for(model.vocab_size, path, given)
    plain = _Variant(name, None, model.initial_state(1), tokenizer, open_template(sources.template))
    keeps_tokenizer = sources.tokenizer is not None
    adapted = [_adapted(plain, base, model, *other, keeps_tokenizer) for other in adapters]
    stated = [_stated(plain, base, model, *other) for other in sources.states]
    variants = [*adapted, plain, *stated] if is_run else [plain, *adapted, *stated]

    quantize_frozen(model, sources.frozen, sources.device)
    cast_frozen(model, sources.frozen)
    for variant in adapted:
        if variant.own:
            share(variant.own[0], model, variant.own[1])
    forward = Forward(model.to(sources.device))
    return {one.name: _served(one, forward, name, sources.device) for one in variants}


def _served(one: _Variant, base: Forward, base_name: str, device: torch.device) -> Served:
    forward, initial = base, one.initial
    if one.own:
        model, _ = one.own
        model.requires_grad_(False).eval().to(device)
        initial = model.initial_state(1) if initial is None else initial
        if is_shared(model, base.model):
            base.add(one.name, model)
        else:
            forward = Forward(model)
    assert initial is not None
    begun = tuple(LayerState(*(part.to(device) for part in layer)) for layer in initial)
    return Served(one.name, forward, begun, one.tokenizer, one.template, base_name)


def _adapted(
    plain: _Variant, base: Base, model: Model, name: str, path: Path, keeps_tokenizer: bool
) -> _Variant:
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
        if run.tokenizer and not keeps_tokenizer:
            tokenizer = tokenizer_for(model.vocab_size, base.path, run.tokenizer)
        if run.reading.template:
            template = open_template(run.reading.template)
    if _is_state(adapter):
        return _Variant(name, None, _initial(model, adapter.tensors, path), tokenizer, template)
    own = sharing(model)
    restore_adapter(own, adapter)
    return _Variant(name, (own, adapter), None, tokenizer, template)


def _stated(plain: _Variant, base: Base, model: Model, name: str, path: Path) -> _Variant:
    """The base with a state: that of a run of the method `state`, or of a file."""
    states, owner = state_of(adapter_at(path), path) if path.is_dir() else read_state(path)
    if owner not in (None, base.fingerprint):
        raise UserError(f"{path}: was tuned over another model than {base.path}; give that one")
    initial = _initial(model, states, path)
    return _Variant(name, None, initial, plain.tokenizer, plain.template)


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
            raise UserError(
                f"the name {name!r} is none for a model; give --name, or NAME=…, of letters, "
                "digits and -._"
            )
        if names.count(name) > 1:
            raise UserError(f"the name {name!r} is given twice; name each adapter and state apart")
