"""What tests of the command line share: a folder to work in, and typing a command."""

import json
import sys
from pathlib import Path

import pytest
from weights import write_model

from eyas.cli import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with m.pth and d.jsonl, to work in."""
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "m.pth")
    rows = [{"text": f"User: {i}\n\nAssistant: number {i}"} for i in range(12)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.fixture
def eyas(
    folder: Path,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """Runs a command line in the folder: exit code, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["eyas", *arguments])
        code = main()
        return (code, *capsys.readouterr())

    return run
