"""What a run is made of, as a value, as a TOML file and as typed on the command line."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from eyas.adapters import METHODS, AnyMethod, Part, PiSSA, method_named
from eyas.config import fields_of, from_mapping, read_toml, to_mapping
from eyas.data import BatchConfig, ReadConfig
from eyas.errors import UserError
from eyas.observe.watching import WatchConfig
from eyas.quant import FrozenConfig
from eyas.training.engine import EngineConfig
from eyas.training.loop import LoopConfig
from eyas.training.optim import OptimConfig

SETTINGS = "run.toml"
Precision = Literal["auto", "fp32", "tf32", "fp16", "bf16"]
_PATHS = ("model", "out", "validation", "adapter")
_SEEDS = 2**63
_HEAVIEST = 10_000


@dataclass(frozen=True)
class Run:
    """Everything that a training run is made of.

    Paths may be given as text; ~ in them is the home directory.
    """

    model: Annotated[Path, "base model, .pth or .safetensors"]
    data: Annotated[
        tuple[Path, ...],
        "training data: jsonl, json, csv, parquet, txt, a folder of these, a data set of Hugging "
        "Face, binidx, npy; several are mixed",
    ]
    out: Annotated[Path | None, "run directory; default: runs/MODEL-DATA-METHOD"] = None
    method: AnyMethod = field(default_factory=PiSSA)
    targets: Annotated[
        tuple[str, ...],
        "linears that get an adapter: key,att.value,blocks.0.*; default: all in the blocks",
    ] = ()
    train_parts: Annotated[
        tuple[Part, ...], "whole tensors of the base that train beside the adapter"
    ] = ()
    validation: Annotated[Path | None, "held-out data, of the same kinds as the data"] = None
    validation_share: Annotated[float, "share of the documents held out, 0 to 1"] = 0.0
    weights: Annotated[
        tuple[float, ...], "how often each data file is seen in a pass; default: once"
    ] = ()
    tokenizer: Annotated[
        str | None, "world, bytes, world-bytes, or a vocabulary file; default: by the model"
    ] = None
    precision: Annotated[
        Precision, "of activations, on a CPU bf16 of products; auto: fp32 on a CPU, bf16 on a GPU"
    ] = "auto"
    seed: Annotated[int, "of adapter, data order and dropout"] = 0
    adapter: Annotated[
        Path | None, "go on from this adapter: a run, a checkpoint's folder or an adapter file"
    ] = None
    keep_optimizer: Annotated[bool, "with --adapter: its optimizer goes on too"] = False
    prompts: Annotated[
        tuple[str, ...], "texts that the model continues now and then, to be looked at"
    ] = ()
    frozen: FrozenConfig = field(default_factory=FrozenConfig)
    reading: ReadConfig = field(default_factory=ReadConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    watch: WatchConfig = field(default_factory=WatchConfig)

    def __post_init__(self) -> None:
        given: Any = self.data
        given = (given,) if isinstance(given, (str, Path)) else given
        object.__setattr__(self, "data", tuple(Path(os.path.expanduser(one)) for one in given))
        for name in _PATHS:
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, Path(os.path.expanduser(value)))
        self._check_names()
        if not 0 <= self.seed < _SEEDS:
            raise ValueError(f"seed = {self.seed} must be at least 0 and below 2^63")
        if not 0 <= self.validation_share < 1:
            raise ValueError(f"validation_share = {self.validation_share} must be 0 up to 1")
        self._check_weights()
        if self.validation and self.validation_share:
            raise ValueError("validation and validation_share exclude one another; give one")
        if self.loop.patience and not (self.validation or self.validation_share):
            raise ValueError("patience needs held-out losses; add validation or validation_share")
        if self.keep_optimizer and not self.adapter:
            raise ValueError("keep_optimizer needs an adapter to go on from; add --adapter")
        if self.loop.sample_every and not self.prompts:
            raise ValueError("sample_every needs prompts to continue; add --prompts TEXT")
        if self.frozen.embedding_on_cpu and "emb" in self.train_parts:
            raise ValueError("embedding_on_cpu: an embedding that trains moves with the model")

    def _check_names(self) -> None:
        """A name that is no UTF-8, as in archives from Windows, fits into no settings file."""
        named = (getattr(self, name) for name in _PATHS)
        for path in (*self.data, *(one for one in named if one is not None)):
            try:
                str(path).encode()
            except UnicodeEncodeError:
                shown = str(path).encode(errors="replace").decode()
                raise ValueError(f"{shown}: the name is not UTF-8; rename it") from None

    def _check_weights(self) -> None:
        if not self.data:
            raise ValueError("data names no file; give at least one")
        if not self.weights:
            return
        if len(self.weights) != len(self.data):
            raise ValueError(
                f"weights: {len(self.weights)} for {len(self.data)} data files; give one for each"
            )
        if wrong := [weight for weight in self.weights if not 0 < weight <= _HEAVIEST]:
            raise ValueError(f"weights: {wrong[0]} must be above 0 and at most {_HEAVIEST}")
        if self.batch.dataload == "get":
            raise ValueError(
                "weights: windows (dataload get) cross the files; leave one of them out"
            )


# Of two that say the same thing, the one that is laid over the other takes its place.
_RIVALS = {"steps": "epochs", "validation": "validation_share"}
_RIVALS |= {other: name for name, other in _RIVALS.items()}
_TABLES = {
    "reading": ReadConfig,
    "frozen": FrozenConfig,
    "batch": BatchConfig,
    "optim": OptimConfig,
    "loop": LoopConfig,
    "engine": EngineConfig,
    "watch": WatchConfig,
}


def run_from_mapping(values: Mapping[str, object], where: str) -> Run:
    """The run that a TOML file or the command line describes; strict.

    The table `method` has the method's `name` beside its settings.
    """
    values = dict(values)
    chosen = values.get("method", {})
    if isinstance(chosen, str):
        chosen = {"name": chosen}
    if not isinstance(chosen, Mapping):
        raise UserError(f"{where}: method must be a name or a table with a name")
    if isinstance(values.get("data"), (str, Path)):
        values["data"] = (values["data"],)
    settings = {key: value for key, value in chosen.items() if key != "name"}
    values["method"] = method_named(str(chosen.get("name", PiSSA.name)), settings, where)
    return from_mapping(Run, values, where)


def run_to_mapping(run: Run) -> dict[str, object]:
    """What `run_from_mapping` takes, for TOML."""
    method = {"name": run.method.name, **to_mapping(run.method)}
    return {**to_mapping(run), "method": method}


def read_run(path: Path) -> Run:
    """The resolved settings of a run directory. Raises UserError where it is none."""
    settings = path / SETTINGS
    if not settings.exists():
        raise UserError(
            f"{path}: not a run directory (it has no {SETTINGS}); give the --out of one"
        )
    return run_from_mapping(read_toml(settings), str(settings))


def nested(flat: Mapping[str, object]) -> dict[str, object]:
    """Options by their field's name, put into the tables that they belong to."""
    owners = {f.name: table for table, cls in _TABLES.items() for f in fields_of(cls)}
    owners |= {f.name: "method" for cls in METHODS for f in fields_of(cls)}
    values: dict[str, object] = {}
    for name, value in flat.items():
        if name == "method":
            _table(values, "method")["name"] = value
        elif name in owners:
            _table(values, owners[name])[name] = value
        else:
            values[name] = value
    return values


def merged(below: Mapping[str, object], above: Mapping[str, object]) -> dict[str, object]:
    """Two nested mappings laid over one another; what stands above wins."""
    result = {key: value for key, value in below.items() if _RIVALS.get(key) not in above}
    for key, value in above.items():
        lower = result.get(key)
        if isinstance(value, Mapping) and isinstance(lower, Mapping):
            # Another method does not inherit the settings of the one below.
            fresh = key == "method" and value.get("name", lower.get("name")) != lower.get("name")
            result[key] = dict(value) if fresh else merged(lower, value)
        else:
            result[key] = value
    return result


def flat(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """A nested mapping as `table.name`: value."""
    result: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[prefix + key] = value
    return result


def _table(values: dict[str, object], name: str) -> dict[str, object]:
    table = values.setdefault(name, {})
    assert isinstance(table, dict)
    return table
