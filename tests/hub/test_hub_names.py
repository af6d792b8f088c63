"""What is a model's name, what a path, and where a name leads."""

from pathlib import Path, PurePosixPath

import pytest
from weights import SHAPES, write_model

import eyas
from eyas.errors import UserError
from eyas.hub import local_model, models_folder, released, wanted
from eyas.models import read_tensors

G1D = "BlinkDL/rwkv7-g1/rwkv7-g1d-0.1b-20260129-ctx8192.pth"


def test_the_list_is_sound() -> None:
    models = released()
    assert len({m.name for m in models}) == len({m.file for m in models}) == len(models)
    for model in models:
        assert model.version in SHAPES
        assert len(model.sha256) == 64
        assert int(model.sha256, 16)
        assert f"ctx{model.ctx}" in model.file
        # bf16, and a name that agrees: layers of 12 C^2 values and more, the vocabulary twice
        values = (12 * model.layers * model.width + 2 * 65536) * model.width
        assert 0.95 < model.size / 2 / values < 1.3
        assert float(model.parameters.removesuffix("B")) == pytest.approx(model.size / 2e9, rel=0.9)


@pytest.mark.parametrize(
    ("name", "site", "repo", "file", "place"),
    [
        ("rwkv7-g1d-0.1b", "huggingface", "BlinkDL/rwkv7-g1", G1D.split("/")[2], G1D),
        ("RWKV7-G1D-0.1B", "huggingface", "BlinkDL/rwkv7-g1", G1D.split("/")[2], G1D),
        (G1D.split("/")[2], "huggingface", "BlinkDL/rwkv7-g1", G1D.split("/")[2], G1D),
        ("modelscope:rwkv7-g1d-0.1b", "modelscope", "Blink_DL/rwkv7-g1", G1D.split("/")[2], G1D),
        ("o/r/a.pth", "huggingface", "o/r", "a.pth", "o/r/a.pth"),
        ("o/r/in/a.safetensors", "huggingface", "o/r", "in/a.safetensors", "o/r/in/a.safetensors"),
        ("modelscope:o/r/a.pth", "modelscope", "o/r", "a.pth", "modelscope/o/r/a.pth"),
    ],
)
def test_names(name: str, site: str, repo: str, file: str, place: str) -> None:
    found = wanted(name)
    assert found
    assert (found.site, found.repo, found.file) == (site, repo, file)
    assert found.place == PurePosixPath(place)


@pytest.mark.parametrize(
    "path",
    ["a.pth", "o/a.pth", "../o/r/a.pth", "o/../r/a.pth", "o/r/a.txt", "/o/r/a.pth", "runs/a"],
)
def test_paths(path: str) -> None:
    assert wanted(path) is None
    assert local_model(path) == Path(path)


@pytest.mark.parametrize("name", ["rwkv7-g1d-01b", "modelscope:rwkv7-g1d-01b", "modelscope:o/r"])
def test_a_name_that_is_unknown(name: str) -> None:
    with pytest.raises(UserError) as caught:
        local_model(name)
    said = str(caught.value)
    assert said.startswith(f"{name}: no such file or folder, and no released model of that name")
    assert ("did you mean 'rwkv7-g1d-0.1b'?" in said) == ("01b" in name)
    assert all(model.name in said for model in released())


def test_no_copy_there() -> None:
    with pytest.raises(UserError, match=r"no copy on ModelScope is known; take rwkv5-world-3b, or"):
        wanted("modelscope:rwkv5-world-3b")


def test_what_is_here_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rwkv7-g1d-0.1b").mkdir()
    Path("o").mkdir()
    assert local_model("rwkv7-g1d-0.1b") == Path("rwkv7-g1d-0.1b")
    assert local_model("o/r/a.pth") == Path("o/r/a.pth")  # mistyped, in a folder that is here


def test_the_folder_of_models() -> None:
    assert models_folder({"XDG_CACHE_HOME": "/c"}) == Path("/c/eyas/models")
    assert models_folder({}) == Path.home() / ".cache" / "eyas" / "models"


def test_a_model_that_was_put_there_by_hand_is_opened_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    place = models_folder({"XDG_CACHE_HOME": str(tmp_path)}) / "o" / "r" / "a.pth"
    place.parent.mkdir(parents=True)
    write_model(place)
    assert local_model("o/r/a.pth") == place
    assert eyas.load("o/r/a.pth").shape == SHAPES["x070"]
    assert read_tensors(Path("o/r/a.pth")).keys() == read_tensors(place).keys()
