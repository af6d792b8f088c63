"""Options from dataclasses: strict, helpful, and the same after writing and reading."""

import dataclasses
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest

from eyas import config
from eyas.errors import UserError


@dataclass(frozen=True)
class Rates:
    high: Annotated[float, "learning rate at the top"] = 2e-5
    schedule: Annotated[Literal["constant", "cosine"], "how it changes"] = "constant"

    def __post_init__(self) -> None:
        if self.high <= 0:
            raise ValueError(f"high = {self.high} must be above 0")


@dataclass(frozen=True)
class Options:
    steps: Annotated[int, "optimizer steps"]
    model: Annotated[Path | None, "the weights"] = None
    parts: Annotated[tuple[str, ...], "what else trains"] = ("time", "ln")
    resume: Annotated[bool, "go on"] = False
    share: Annotated[int | float | None, "held out"] = None
    rates: Rates = dataclasses.field(default_factory=Rates)


def mistakes(values: dict[str, object]) -> str:
    with pytest.raises(UserError) as caught:
        config.from_mapping(Options, values, "run.toml")
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_fields_carry_type_default_and_help() -> None:
    assert config.fields_of(Options) == [
        ("steps", int, dataclasses.MISSING, "optimizer steps"),
        ("model", Path | None, None, "the weights"),
        ("parts", tuple[str, ...], ("time", "ln"), "what else trains"),
        ("resume", bool, False, "go on"),
        ("share", int | float | None, None, "held out"),
        ("rates", Rates, Rates(), ""),
    ]


def test_plain_values_become_their_types() -> None:
    values = {
        "steps": 3,
        "model": "a/b.pth",
        "parts": ["emb"],
        "resume": True,
        "share": 0.5,
        "rates": {"high": 1, "schedule": "cosine"},
    }
    made = config.from_mapping(Options, values, "run.toml")
    assert made == Options(3, Path("a/b.pth"), ("emb",), True, 0.5, Rates(1.0, "cosine"))
    assert isinstance(made.rates.high, float)


def test_values_of_the_right_type_are_kept() -> None:
    values = {"steps": 3, "model": Path("m"), "parts": (), "share": 2, "rates": Rates(0.5)}
    made = config.from_mapping(Options, values, "command line")
    assert made == Options(3, Path("m"), (), False, 2, Rates(0.5))
    assert isinstance(made.share, int)


def test_defaults_and_none() -> None:
    assert config.from_mapping(Options, {"steps": 1, "model": None}, "x") == Options(1)


def test_one_mistake_reads_as_a_sentence() -> None:
    assert mistakes({"steps": 1, "part": []}) == (
        "run.toml: unknown key 'part'; did you mean 'parts'?"
    )
    assert mistakes({}) == "run.toml: steps is missing"


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("steps", "ten", "steps = 'ten' must be a whole number"),
        ("steps", True, "steps = true must be a whole number"),
        ("steps", 1.0, "steps = 1.0 must be a whole number"),
        ("model", 3, "model = 3 must be a path"),
        ("parts", "time", "parts = 'time' must be a list"),
        ("parts", ["time", 3], "parts[1] = 3 must be a text"),
        ("resume", 1, "resume = 1 must be true or false"),
        ("share", "half", "share = 'half' must be a whole number or a number"),
        ("rates", 3, "rates = 3 must be a table"),
        ("rates", {"high": float("nan")}, "rates.high = nan must be a number"),
        ("rates", {"high": False}, "rates.high = false must be a number"),
        ("rates", {"high": -1}, "rates.high = -1.0 must be above 0"),
        ("rates", {"hihg": 1}, "unknown key 'rates.hihg'; did you mean 'high'?"),
        (
            "rates",
            {"schedule": "cosin"},
            "rates.schedule = 'cosin' must be one of constant, cosine; did you mean 'cosine'?",
        ),
    ],
)
def test_wrong_values(key: str, value: object, text: str) -> None:
    assert mistakes({"steps": 1, key: value}) == f"run.toml: {text}"


def test_all_mistakes_come_at_once() -> None:
    assert mistakes({"resume": 1, "x": 1, "rates": {"high": "a", "y": 2}}) == (
        "run.toml: (1) unknown key 'x' (2) steps is missing (3) resume = 1 must be true or false"
        " (4) unknown key 'rates.y' (5) rates.high = 'a' must be a number"
    )


def test_writing_and_reading_gives_the_same(tmp_path: Path) -> None:
    options = Options(7, Path("中文/m.pth"), (), True, 0.1, Rates(1e-4, "cosine"))
    config.write_toml(config.to_mapping(options), tmp_path / "run.toml")
    values = config.read_toml(tmp_path / "run.toml")
    assert config.from_mapping(Options, values, "run.toml") == options


def test_none_is_left_out() -> None:
    assert config.to_mapping(Options(1, rates=Rates(0.5))) == {
        "steps": 1,
        "parts": ["time", "ln"],
        "resume": False,
        "rates": {"high": 0.5, "schedule": "constant"},
    }


def test_reads_what_windows_editors_write(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_bytes(b"\xef\xbb\xbfsteps = 1\r\nresume = true\r\n")
    assert config.read_toml(tmp_path / "run.toml") == {"steps": 1, "resume": True}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"steps = 1\nresume = yes\n", r"run\.toml: not TOML: .*line 2.*; mend that line"),
        (b"name = '\xff'\n", r"run\.toml: not UTF-8 at byte 8; save it as UTF-8"),
    ],
)
def test_files_that_are_not_toml(tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "run.toml").write_bytes(content)
    with pytest.raises(UserError, match=text):
        config.read_toml(tmp_path / "run.toml")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run\.toml: cannot be read \(No such file"):
        config.read_toml(tmp_path / "run.toml")


def test_did_you_mean() -> None:
    assert config.did_you_mean("trian", ["train", "merge"]) == "; did you mean 'train'?"
    assert config.did_you_mean("PISSA", ["pissa", "lora"]) == "; did you mean 'pissa'?"
    assert config.did_you_mean("zzz", ["train", "merge"]) == ""


def test_imports_without_torch() -> None:
    program = "import sys, eyas.config; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
