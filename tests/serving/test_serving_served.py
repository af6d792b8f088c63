"""One base and what is over it: adapters of every kind, states, runs; alone and side by side."""

from itertools import islice
from pathlib import Path

import pytest
import torch
from runs import a_run, data_file
from weights import write_model

from eyas.adapters import (
    Bat,
    Full,
    LoRA,
    MiSS,
    PiSSA,
    State,
    attach,
    describe,
    load_adapter,
    save_adapter,
)
from eyas.data.tokenizer import Bytes
from eyas.errors import UserError
from eyas.generation.sampling import GREEDY
from eyas.generation.stream import sampled
from eyas.merging import load_adapted
from eyas.models import Model, load
from eyas.models.fingerprint import fingerprint
from eyas.quant import FrozenConfig, QuantizedLinear, cast_frozen, codes_hash, quantize_frozen
from eyas.run import open_model, train
from eyas.serving.jobs import Event, Job, Piece, Ticket
from eyas.serving.metrics import Metrics
from eyas.serving.prefixes import Prefixes
from eyas.serving.scheduler import Scheduler
from eyas.serving.served import Served, Sources, open_served
from eyas.serving.transcript import Form
from eyas.training.events import Saved
from eyas.training.optim import OptimConfig

TOKENS = 6
PROMPT = "document 7: ab"
INT8 = FrozenConfig(quant="int8")
LAYERS = {"pissa": PiSSA(rank=4), "lora": LoRA(rank=2), "miss": MiSS(rank=8), "bat": Bat(rank=8)}
OTHERS = {"full": Full(), "parts": LoRA(rank=2)}  # with tensors of the base's own
FILES = {name: f"{name}.safetensors" for name in (*LAYERS, *OTHERS, "int8", "state")}


def write_adapter(folder: Path, name: str, frozen: FrozenConfig = FrozenConfig()) -> None:
    """An adapter as after training: every tensor of its own is moved."""
    model = load(folder / "m.pth")
    base = fingerprint(model.state_dict())
    method = {**LAYERS, **OTHERS, "int8": LoRA(rank=4), "state": State()}[name]
    attach(model, method, train_parts=("time", "head") if name == "parts" else (), frozen=frozen)
    codes = codes_hash(model) if frozen.quant != "none" else ""
    generator = torch.Generator().manual_seed(len(name))
    with torch.no_grad():
        for parameter in (p for p in model.parameters() if p.requires_grad):
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    save_adapter(describe(model, method, base, 0, 1, frozen, codes), folder / FILES[name])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, an adapter file of every kind, and an unfinished run `r`."""
    folder = tmp_path_factory.mktemp("served")
    write_model(folder / "m.pth")
    data_file(folder)
    for name in FILES:
        write_adapter(folder, name, INT8 if name == "int8" else FrozenConfig())
    events = train(a_run(folder, "r", method=LoRA(rank=4), optim=OptimConfig(lr=0.1), save_every=2))
    for event in events:
        if isinstance(event, Saved):
            break
    events.close()
    return folder


def opened(folder: Path, *names: str, frozen: FrozenConfig = FrozenConfig()) -> dict[str, Served]:
    adapters = tuple((name, folder / FILES[name]) for name in names)
    return open_served(Sources(folder / "m.pth", adapters=adapters, frozen=frozen))


@torch.inference_mode()
def said(*served: Served) -> list[bytes]:
    """What each says when all are asked at once, half of them a few tokens later."""
    plan, told = Scheduler(8, Prefixes(0), Metrics()), []
    for i, one in enumerate(served):
        told.append(events := [])
        job = Job(one, tuple(PROMPT.encode()), GREEDY, TOKENS + i, (0,), Form(), 0)
        plan.add(Ticket(job, events.append))
        if i == len(served) // 2:
            plan.step()
            plan.step()
    while plan.places():
        plan.step()
    return [_tokens(events) for events in told]


def _tokens(events: list[Event]) -> bytes:
    pieces = [event for event in events if isinstance(event, Piece)]
    return b"".join(token.data for piece in pieces for token in piece.tokens)[:TOKENS]


@torch.inference_mode()
def alone(model: Model) -> bytes:
    """What `eyas generate` draws, up to the end of the document."""
    drawn = sampled(model, Bytes(), list(PROMPT.encode()), None, GREEDY, torch.Generator())
    return bytes(token for token, _ in islice(drawn, TOKENS))


def adapted(folder: Path, name: str) -> Model:
    return load_adapted(folder / "m.pth", load_adapter(folder / FILES[name]))


def test_all_over_one_base_say_what_each_says_alone(folder: Path) -> None:
    served = opened(folder, *FILES)
    assert list(served) == ["m", *FILES]
    told = dict(zip(served, said(*served.values()), strict=True))
    assert told == {"m": alone(load(folder / "m.pth"))} | {
        name: alone(adapted(folder, name)) for name in FILES
    }
    assert len(set(told.values())) > 5  # they differ


def test_rows_of_several_adapters_go_together(folder: Path) -> None:
    served = opened(folder, *FILES)
    forward = served["m"].forward
    assert {name for name, one in served.items() if one.forward is forward} == {
        "m", "state", *LAYERS,
    }  # fmt: skip
    rows = []
    hidden = forward.model.hidden

    def counted(tokens: torch.Tensor, state: object) -> object:
        rows.append(tuple(tokens.shape))
        return hidden(tokens, state)

    forward.model.hidden = counted
    together = said(*(served[name] for name in ("m", *LAYERS, "state")))
    assert max(batch for batch, length in rows if length == 1) > 4
    each = [said(served[name])[0] for name in ("m", *LAYERS, "state")]
    assert together == each


def test_weights_are_in_memory_once(folder: Path) -> None:
    served = opened(folder, *FILES)
    base = dict(served["m"].forward.model.named_parameters())
    known = {parameter.data_ptr() for parameter in base.values()}
    for name in ("parts", "int8"):
        model = served[name].forward.model
        assert model is not served["m"].forward.model
        own = {n for n, p in model.named_parameters() if p.data_ptr() not in known}
        trained = {n for n in own if n.split(".")[-1].startswith(("lora_", "x_", "w", "a", "v"))}
        assert "emb.weight" not in own
        if name == "parts":
            assert "head.weight" in own
            assert not any(n.endswith("att.key.base.weight") for n in own)
        assert trained


@pytest.mark.parametrize("frozen", [INT8, FrozenConfig("bf16"), FrozenConfig(quant="nf4")])
def test_a_base_kept_narrower(folder: Path, frozen: FrozenConfig) -> None:
    served = opened(folder, "pissa", "int8", frozen=frozen)
    plain = load(folder / "m.pth")
    quantize_frozen(plain, frozen)
    cast_frozen(plain, frozen)
    told = dict(zip(served, said(*served.values()), strict=True))
    assert told["m"] == alone(plain)
    for name, one in served.items():
        assert [told[name]] == said(one)
    assert told["int8"] == alone(adapted(folder, "int8"))
    # An adapter over the same codes shares them, and the forward.
    assert (served["int8"].forward is served["m"].forward) == (frozen == INT8)
    model = served["pissa"].forward.model
    assert model is served["m"].forward.model
    assert isinstance(model.get_submodule("blocks.0.att.key").base, QuantizedLinear) == (
        frozen.quant != "none"
    )


def test_a_run_that_is_training_is_served_beside_its_base(folder: Path) -> None:
    served = open_served(Sources(folder / "r"))
    assert list(served) == ["r", "m"]
    assert served["r"].base == "m"
    model, _, _ = open_model(folder / "r")
    assert said(served["r"]) == [alone(model)]
    named = open_served(Sources(folder / "r", name="mine", frozen=FrozenConfig("fp32")))
    assert list(named) == ["mine", "m"]


MISTAKES = {
    "twice": (Sources(Path("m.pth"), adapters=(("m", Path("r")),)), "'m' is given twice"),
    "name": (Sources(Path("m.pth"), name="a/b"), "'a/b' is none for a model; give --name"),
    "other base": (Sources(Path("o.pth"), adapters=(("a", Path("r")),)), "over another model"),
    "other state": (
        Sources(Path("o.pth"), states=(("s", Path("state.safetensors")),)), "over another model",
    ),
    "no state": (Sources(Path("m.pth"), states=(("s", Path("r")),)), "which is no state"),
    "model as a state": (Sources(Path("m.pth"), states=(("s", Path("m.pth")),)), "no state file"),
    "no adapter": (Sources(Path("m.pth"), adapters=(("a", Path("m.pth")),)), "m.pth"),
    "nowhere": (Sources(Path("no.pth")), "no.pth"),
    "no run": (Sources(Path("empty")), "empty"),
    "a released model": (Sources(Path("rwkv7-g1d-0.1c")), "rwkv7-g1d-0.1b"),
    "base of a model": (Sources(Path("m.pth"), base=Path("m.pth")), "--base goes with a run"),
}  # fmt: skip


@pytest.mark.parametrize(("sources", "said"), MISTAKES.values(), ids=MISTAKES)
def test_what_cannot_be_served(
    folder: Path, monkeypatch: pytest.MonkeyPatch, sources: Sources, said: str
) -> None:
    monkeypatch.chdir(folder)
    Path("empty").mkdir(exist_ok=True)
    if not Path("o.pth").exists():
        write_model(Path("o.pth"), seed=1)
    with pytest.raises(UserError, match=said) as caught:
        open_served(sources)
    assert "\n" not in str(caught.value)
