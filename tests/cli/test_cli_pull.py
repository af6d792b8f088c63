"""eyas pull and eyas models, and every verb that takes a model by its name."""

import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from model_site import Site, model_site

from eyas.hub import Released, models_folder, released

NAME = "owner/repo/m.pth"
TRAINS_IN = Path(__file__).parents[2] / "benchmarks" / "trains_in.py"


@pytest.fixture
def site(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site with the folder's model, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    with model_site() as found:
        found.files[NAME] = (folder / "m.pth").read_bytes()
        yield found


def pulled(site: Site, *words: str) -> subprocess.CompletedProcess[str]:
    """`eyas pull` in a process of its own: the library reads HF_ENDPOINT when it is imported."""
    command = [sys.executable, "-m", "eyas", "pull", *words]
    return subprocess.run(
        command, env={**os.environ, "HF_ENDPOINT": site.url}, capture_output=True, text=True
    )


def test_pull_from_a_mirror_and_then_by_name(site: Site, folder: Path, eyas) -> None:
    done = pulled(site, NAME)
    path = folder / "cache" / "eyas" / "models" / NAME
    size = (folder / "m.pth").stat().st_size
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{path} ({size:,} bytes, SHA-256 checked)\n"
    assert path.read_bytes() == (folder / "m.pth").read_bytes()
    for words in (
        ["generate", NAME, "--prompt", "a", "--max-tokens", "1"],
        ["inspect", NAME],
        ["inspect", "d.jsonl", "--model", NAME],
        ["eval", NAME, "d.jsonl", "--limit", "2", "--no-answers"],
        ["prepare", "d.jsonl", "tokens", "--model", NAME],
        ["train", NAME, "d.jsonl", "--ctx", "16", "--rank", "2", "--steps", "1", "--out", "run"],
        ["merge", "run"],
        ["merge", "run/adapter.safetensors", "--base", NAME],
        ["eval", "run", "d.jsonl", "--base", NAME, "--limit", "2", "--no-answers"],
    ):
        code, _, said = eyas(*words, *(["--overwrite"] if words[0] == "merge" else []))
        assert code == 0, said
    assert (folder / "run" / "m-merged.pth").exists()
    assert f'model = "{path}"' in (folder / "run" / "run.toml").read_text()


def test_pull_into_a_folder(site: Site, folder: Path) -> None:
    done = pulled(site, NAME, "--out", str(folder / "here"))
    assert done.returncode == 0, done.stderr
    assert (folder / "here" / "m.pth").read_bytes() == site.files[NAME]
    (folder / "here" / "m.pth").write_bytes(b"other")
    done = pulled(site, NAME, "--out", str(folder / "here"))
    assert done.returncode == 2
    assert "is damaged (its SHA-256 is not" in done.stderr


def test_names_that_are_wrong(eyas) -> None:
    code, _, said = eyas("pull", "rwkv7-g1d-01b")
    assert (code, said.count("\n")) == (2, 1)
    assert "did you mean 'rwkv7-g1d-0.1b'?" in said
    assert eyas("pull", "m.pth")[0] == 2
    code, _, said = eyas("train", "rwkv7-g1d-01b", "d.jsonl")
    assert (code, said.count("\n")) == (2, 1)
    assert "did you mean 'rwkv7-g1d-0.1b'?" in said


def test_models(folder: Path, monkeypatch: pytest.MonkeyPatch, eyas) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    first, large = released()[0], next(m for m in released() if m.parameters == "13.3B")
    path = models_folder({"XDG_CACHE_HOME": str(folder)}) / first.repo / first.file
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.truncate(first.size)
    monkeypatch.setattr("eyas.cli.models._memory", lambda: (int(8e9), "8 GB of memory free"))
    code, out, _ = eyas("models")
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert all(model.name in lines for model in released())
    assert "382 MB" in lines[first.name]
    assert "trains (downloaded)" in lines[first.name]
    assert f"{first.repo}/{first.file}" in lines[first.name]
    assert "26.5 GB" in lines[large.name]
    assert "does not fit" in lines[large.name]
    assert " runs " in lines["rwkv7-g1j-2.9b"]
    assert "8 GB of memory free" in out
    path.write_bytes(b"half of it")
    assert "trains (damaged: eyas pull says more)" in eyas("models")[1]


def test_models_are_listed_without_waiting_for_pytorch(folder: Path) -> None:
    program = "import sys, eyas.cli.models, eyas.hub; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=folder).returncode == 0


@pytest.mark.parametrize("model", released()[::5], ids=lambda model: model.name)
def test_what_training_takes_is_what_is_predicted(model: Released) -> None:
    found = runpy.run_path(str(TRAINS_IN))["trains_in"](model)
    assert found == pytest.approx(model.trains_in, rel=0.1), f"run {TRAINS_IN} again"
