"""The command line: options from dataclasses, lazy verbs, errors in one line."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import click
import pytest
from click.testing import CliRunner

from eyas.cli.options import Group, Verb, add_options, run_cli
from eyas.errors import UserError


@dataclass(frozen=True)
class Nested:
    inside: int = 1


@dataclass(frozen=True)
class Training:
    steps: Annotated[int | None, "optimizer steps"] = None
    micro_batch: Annotated[int, "rows at once"] = 4
    rate: Annotated[float, "learning rate"] = 2e-5
    resume: Annotated[bool, "go on"] = False
    schedule: Annotated[Literal["cosine", "wsd"], "change of the rate"] = "cosine"
    parts: Annotated[tuple[Literal["time", "ln"], ...], "also trained"] = ("time", "ln")
    stop: Annotated[tuple[str, ...], "texts that end it"] = ()
    out: Annotated[Path | None, "folder"] = None
    tokenizer: Annotated[Path | str | None, "file or name"] = None
    nested: Nested = Nested()


@dataclass(frozen=True)
class Method:
    rank: Annotated[int, "rank of the change"]
    micro_batch: Annotated[int, "rows of the other"] = 8


@click.command("train")
@click.argument("model")
@add_options(Training, Method)
def train(model: str, typed: dict[str, object]) -> tuple[str, dict[str, object]]:
    click.echo(f"{model}: {typed}")
    return model, typed


def output(*arguments: str) -> str:
    result = CliRunner().invoke(train, arguments)
    assert result.exit_code == 0, result.output
    return result.output


def typed(*arguments: str) -> dict[str, object]:
    result = CliRunner().invoke(train, ["m.pth", *arguments], standalone_mode=False)
    model, values = result.return_value
    assert model == "m.pth"
    assert isinstance(values, dict)
    return values


def test_nothing_typed_is_an_empty_mapping() -> None:
    assert typed() == {}


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["--steps", "7"], "steps", 7),
        (["--micro-batch", "4"], "micro_batch", 4),  # the default, and typed all the same
        (["--rate", "1"], "rate", 1.0),
        (["--resume"], "resume", True),
        (["--no-resume"], "resume", False),
        (["--schedule", "WSD"], "schedule", "wsd"),
        (["--parts", "time"], "parts", ("time",)),
        (["--parts", "ln,time"], "parts", ("ln", "time")),
        (["--parts", "ln time"], "parts", ("ln", "time")),
        (["--parts", "ln", "--parts", "time"], "parts", ("ln", "time")),
        (["--parts", ""], "parts", ()),
        (["--stop", "a, b", "--stop", "\n\n"], "stop", ("a, b", "\n\n")),
        (["--out", "x/y"], "out", Path("x/y")),
        (["--tokenizer", "world"], "tokenizer", "world"),
        (["--rank", "3"], "rank", 3),
    ],
)
def test_what_is_typed_is_the_mapping(arguments: list[str], name: str, value: object) -> None:
    assert typed(*arguments) == {name: value}


def test_help_shows_texts_and_defaults() -> None:
    shown = " ".join(output("--help").split())
    for text in (
        "--steps INTEGER optimizer steps --micro-batch",
        "--micro-batch INTEGER rows at once [default: 4] | rows of the other [default: 8]",
        "--rate FLOAT learning rate [default: 2e-05]",
        "--resume / --no-resume go on [default: off]",
        "--schedule [cosine|wsd] change of the rate [default: cosine]",
        "--parts time|ln,... also trained [default: time,ln]",
        "--stop TEXT texts that end it [default: none]",
        "--rank INTEGER rank of the change --help",
    ):
        assert text in shown
    assert "inside" not in shown


@pytest.mark.parametrize("arguments", [["--parts", "emb"], ["--steps", "x"], ["--schedule", "no"]])
def test_wrong_values_are_usage_errors(arguments: list[str]) -> None:
    assert CliRunner().invoke(train, ["m.pth", *arguments]).exit_code == 2


VERBS = {
    "train": Verb("test_cli_options_verbs:train", "trains a model"),
    "merge": Verb("no_such_module:merge", "writes the merged model"),
}


def test_help_imports_no_verb() -> None:
    result = CliRunner().invoke(Group("eyas", VERBS, help="Trains."), ["--help"])
    assert result.exit_code == 0
    assert "trains a model" in result.output
    assert result.output.index("train ") < result.output.index("merge ")


def test_verb_is_imported_when_called(monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(sys)("test_cli_options_verbs")
    module.train = train  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "test_cli_options_verbs", module)
    group = Group("eyas", VERBS, help="Trains.")
    result = CliRunner().invoke(group, ["train", "m.pth", "--steps", "1"])
    assert result.output == "m.pth: {'steps': 1}\n"


def test_misspelled_verb() -> None:
    result = CliRunner().invoke(Group("eyas", VERBS, help="Trains."), ["trian"])
    assert result.exit_code == 2
    assert "no verb 'trian'; did you mean 'train'?" in result.output


def run(monkeypatch: pytest.MonkeyPatch, function: Callable[[], object], *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["eyas", *words])
    return run_cli(click.Command("eyas", callback=function))


def raises(error: BaseException) -> Callable[[], object]:
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        (UserError("a.pth: not a checkpoint;\nname another"), 2, "a.pth: not a checkpoint; name a"),
        (OSError(errno.ENOSPC, "No space left", "run/x"), 2, "eyas: run/x: the disk is full; free"),
        (OSError(errno.ENOSPC, "No space left"), 2, "eyas: the disk is full; free"),
        (OSError(errno.EFBIG, "File too large"), 2, "eyas: a file may not become so large here"),
        (PermissionError(errno.EACCES, "Denied", "a.pth"), 2, "eyas: a.pth: Denied; check the"),
        (OSError(errno.ENAMETOOLONG, "Name too long", b"x"), 2, "eyas: x: Name too long; check"),
        (OSError(errno.EROFS, "Read-only", ".r.0123abcd.tmp/x"), 2, "eyas: r/x: Read-only; check"),
        (click.UsageError("no such thing"), 2, "no such thing"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_become_exit_codes(
    error: BaseException,
    code: int,
    shown: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, raises(error)) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert shown in err
    assert "Traceback" not in err


def test_user_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, raises(UserError("a\nb")))
    assert capsys.readouterr().err == "eyas: a b\n"


def test_our_own_faults_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError):
        run(monkeypatch, raises(FileNotFoundError(errno.ENOENT, "gone")))


def test_a_reader_that_goes_away_ends_it_quietly() -> None:
    program = (
        "import click, sys, eyas.cli.options as o;"
        "sys.exit(o.run_cli(click.Command('eyas', callback=lambda: [click.echo('x' * 99999)] * 9)))"
    )
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", program], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


def test_exit_codes_of_verbs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, lambda: None) == 0
    assert run(monkeypatch, lambda: 130) == 130
    assert run(monkeypatch, lambda: None, "--help") == 0
    assert run(monkeypatch, lambda: None, "--nope") == 2


def test_imports_without_torch() -> None:
    program = "import sys, eyas.cli.options; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_text_that_the_console_cannot_show() -> None:
    program = (
        "import click, sys, eyas.cli.options as o;"
        "sys.exit(o.run_cli(click.Command('eyas', callback=lambda: print('\\U0001f985 ok'))))"
    )
    environment = {"PYTHONIOENCODING": "gbk", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment)
    assert (done.returncode, done.stdout.strip()) == (0, b"? ok")
