"""What the flags of train.py mean: a run of eyas, and how it is told in epochs."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

from eyas.errors import UserError
from eyas.models import Shape
from eyas.rwkv_peft.choice import Choice, choice_of
from eyas.rwkv_peft.epochs import Epochs, epochs_of, lines_on_epochs
from eyas.rwkv_peft.flags import Flag, Given, OfFile, Only, Sets, idle_lines
from eyas.rwkv_peft.rates import course
from eyas.rwkv_peft.sources import sources
from eyas.rwkv_peft.table import TRAIN
from eyas.settings import Run, merged, run_from_mapping

NEW_MODEL, STARTED_FROM = "rwkv-init.pth", "start.safetensors"  # in proj_dir
_QUANTIZERS = ("none", "int8", "nf4", "fp4", "4bit")


@dataclass(frozen=True)
class Plan:
    """A command line understood; nothing is read or written yet."""

    given: Given
    run: Run
    epochs: Epochs
    choice: Choice
    lines: tuple[str, ...]  # for the user

    @property
    def new_model(self) -> bool:
        """Whether there is no base to train, but one to make."""
        return not self.given["load_model"]


def plan_of(given: Given, gpu: bool, environment: Mapping[str, str]) -> Plan:
    """gpu: whether this machine has one. environment: as torchrun and Lightning read it.

    Raises UserError for values that cannot be meant.
    """
    _check_only(given)
    choice, epochs = choice_of(given), epochs_of(given)
    optim, optim_lines = course(given, str(choice.method["name"]))
    machine, machine_lines = _machine(given, gpu, environment)
    chunk, chunk_lines = _chunk(given)
    trained: dict[str, object] = {"method": choice.method, "targets": choice.targets}
    if choice.load:
        trained["adapter"] = str(Path(given["proj_dir"]) / STARTED_FROM)
    layers: tuple[Mapping[str, object], ...] = (
        sources(given),
        machine,
        {"optim": optim, "frozen": {"quant": quant_of(given["quant"])}},
        {**trained, "train_parts": choice.train_parts},
        {"loop": {"steps": epochs.total, "save_every": epochs.steps, **chunk}},
        {"watch": {"epoch_steps": epochs.steps, "epoch_begin": epochs.begin}},
        _where_given(given),
    )
    values = reduce(merged, layers, _settings(given))
    lines = (*idle_lines(TRAIN, given), *machine_lines, *optim_lines, *chunk_lines, *choice.lines)
    run = run_from_mapping(values, "flags")
    return Plan(given, run, epochs, choice, (*lines, *lines_on_epochs(given)))


def quant_of(name: str) -> str:
    """The quantizer of that name. Raises UserError for others."""
    if name in _QUANTIZERS:
        return name
    if "/" in name:
        raise UserError(
            f"--quant {name} means one of the two: --quant int8 (nearer to the weights) or "
            "--quant nf4 (half the memory)"
        )
    raise UserError(f"--quant {name}: there are {', '.join(_QUANTIZERS)}")


def check_shape(given: Given, shape: Shape, model: Path) -> None:
    """Raises UserError where flags say of the model what its file does not."""
    wrong, found = [], []
    for flag in TRAIN:
        if not isinstance(flag.does, OfFile) or flag.name not in given:
            continue
        said, holds = given[flag.name], getattr(shape, flag.does.what)
        if said not in (holds, flag.does.unknown):
            wrong.append(f"--{flag.name} {said}")
            found.append(f"--{flag.name} {holds}")
    if wrong:
        raise UserError(
            f"{model}: is {shape}, and {', '.join(wrong)} says otherwise; write "
            f"{' '.join(found)}, or give the model that was meant"
        )


def _check_only(given: Given) -> None:
    wrong = [
        f"--{flag.name} {given[flag.name]}: only {_least(flag)} can be done ({flag.here})"
        for flag in TRAIN
        if isinstance(flag.does, Only) and given[flag.name] not in flag.does.values
    ]
    if wrong:
        raise UserError("; ".join(wrong))


def _least(flag: Flag) -> object:
    assert isinstance(flag.does, Only)
    value = flag.does.values[0]
    return int(value) if isinstance(value, float) else value


def _settings(given: Given) -> dict[str, object]:
    """What flags set as they are."""
    values: dict[str, object] = {}
    for flag in TRAIN:
        if isinstance(flag.does, Sets):
            *tables, name = flag.does.setting.split(".")
            found: dict[str, object] = {name: flag.does.convert(given[flag.name])}
            for table in tables:
                found = {table: found}
            values = merged(values, found)
    return values


def _where_given(given: Given) -> dict[str, object]:
    """What is set where a flag has a value."""
    new_model = str(Path(given["proj_dir"]) / NEW_MODEL)
    values: dict[str, object] = {"model": given["load_model"] or new_model}
    if given["random_seed"] >= 0:
        values["seed"] = given["random_seed"]
    if given["tokenizer"]:
        values["tokenizer"] = given["tokenizer"]
    if given["wandb"]:
        values["watch"] = {"wandb": given["wandb"]}
    return values


def _machine(
    given: Given, gpu: bool, environment: Mapping[str, str]
) -> tuple[dict[str, object], list[str]]:
    kind = {"cuda": "gpu"}.get(given["accelerator"], given["accelerator"])
    engine, values, lines = {"accelerator": kind}, {}, []
    if kind == "gpu" and not gpu:
        engine["accelerator"] = "auto"
        values["precision"] = "auto"
        lines.append(
            f"--accelerator {given['accelerator']}: PyTorch finds no GPU here; this trains on the "
            "CPU, in fp32"
        )
    place = given["rendezvous"]
    if not place and given["num_nodes"] > 1 and "MASTER_ADDR" in environment:
        place = f"{environment['MASTER_ADDR']}:{environment.get('MASTER_PORT', '29500')}"
    if place:
        engine["rendezvous"] = place
    return {**values, "engine": engine}, lines


def _chunk(given: Given) -> tuple[dict[str, object], list[str]]:
    chunk, row = given["chunk_ctx"], given["ctx_len"]
    if given["train_type"] != "infctx":
        idle = ["--chunk_ctx: nothing to do (it goes with --train_type infctx)"]
        return {}, idle if "chunk_ctx" in given else []
    if chunk >= row:
        raise UserError(f"--chunk_ctx {chunk} must be smaller than --ctx_len {row}")
    return {"chunk": chunk}, []
