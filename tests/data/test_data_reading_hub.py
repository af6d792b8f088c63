"""Data sets of the Hugging Face hub, whose place is taken by a fake: tests have no network."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from documents import read, scanned, texts, written

from eyas.data.reading.hub import is_hub_name
from eyas.errors import UserError

pytest.importorskip("datasets", reason="the extra eyas[hub] is not installed")

ROWS = [{"question": "q", "answer": "r", "id": 1}, {"question": "s", "answer": "t", "id": 2}]


class Hub:
    """What was asked of it."""

    def __init__(self) -> None:
        self.loaded: list[tuple[str, str | None, str]] = []

    def load(self, name: str, config: str | None, split: str, streaming: bool) -> list[object]:
        assert streaming
        if split not in ("train", "test"):
            raise ValueError(f"Unknown split \"{split}\".\nShould be one of ['train', 'test'].")
        self.loaded.append((name, config, split))
        return list(ROWS)


def problem(name: str) -> str:
    with pytest.raises(UserError) as caught:
        read(Path(name))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    fake = Hub()
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda *_, **__: None)
    monkeypatch.setattr("datasets.get_dataset_config_names", lambda _: ["main", "other"])
    monkeypatch.setattr("datasets.load_dataset", fake.load)
    return fake


@pytest.mark.parametrize(
    ("name", "loaded"),
    [
        ("owner/name", ("owner/name", None, "train")),
        ("owner/name:test", ("owner/name", None, "test")),
        ("owner/name:main", ("owner/name", "main", "train")),
        ("owner/name:main:test", ("owner/name", "main", "test")),
    ],
)
def test_a_data_set_by_its_name(hub: Hub, name: str, loaded: tuple[str, str | None, str]) -> None:
    assert scanned(Path(name)) == {
        f"owner/name:{loaded[2]} row 1": "User: q\n\nAssistant: r",
        f"owner/name:{loaded[2]} row 2": "User: s\n\nAssistant: t",
    }
    assert hub.loaded == [loaded]


@pytest.mark.usefixtures("hub")
def test_a_split_that_is_not_there() -> None:
    assert problem("owner/name:dev") == (
        "owner/name:dev: Unknown split \"dev\". Should be one of ['train', 'test'].; "
        "write owner/name:SPLIT or owner/name:CONFIG:SPLIT"
    )


def test_without_a_network_a_line_names_the_way_around(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.errors

    unreachable = huggingface_hub.errors.HfHubHTTPError.__bases__[0]("Name or service not known")

    def fail(*_: object, **__: object) -> None:
        raise unreachable

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", fail)
    said = problem("owner/name")
    assert said.startswith("owner/name: no such file or folder here, and no data set of the Hug")
    assert "(Name or service not known)" in said
    assert "hf download owner/name --repo-type dataset --local-dir name" in said


def test_a_connection_that_breaks(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(*_: object, **__: object) -> Iterator[dict[str, object]]:
        yield ROWS[0]
        raise ConnectionError("gone")

    monkeypatch.setattr("datasets.load_dataset", rows)
    found = scanned(Path("owner/name"))
    assert list(found) == ["owner/name:train row 1", "owner/name:train"]
    assert found["owner/name:train"].startswith("the hub gave nothing after row 1 (gone)")
    assert hub.loaded == []


def test_columns_that_say_nothing(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: [{"a": 1}, {"a": 2}])
    assert problem("owner/name").startswith(
        "owner/name:train: the data set is no record that eyas knows (its fields: ['a'])"
    )
    assert hub.loaded == []


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    said = problem("owner/name")
    assert said.startswith("owner/name: no such file or folder, and data sets of the Hugging Face")
    assert "eyas[hub]" in said


def test_what_is_a_name_and_what_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "data" / "inner" / "a.jsonl", b'{"text": "a"}')
    for name in ("owner/name", "owner/na.me-2_x", "owner/name:split", "owner/name:config:split"):
        assert is_hub_name(name)
        assert is_hub_name(Path(name))
    for name in (
        "name", "a/b/c", "/a/b", "./b", "../b", "a/b.jsonl", "a/b.txt.gz", "data/innr",
        "data/inner", "a/b:c:d:e", "a b/c", "a/", "data",
    ):  # fmt: skip
        assert not is_hub_name(name)
    assert texts(Path("data/inner")) == ["a"]
    assert problem("data/innr").endswith("did you mean 'inner'?")


def test_the_download_that_is_advised_can_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "name"
    written(folder / "README.md", b"---\nconfigs: []\n---\n")
    written(folder / ".cache" / "huggingface" / "x.json", b"{}")
    written(folder / "data" / "train-00000-of-00001.jsonl", b'{"text": "a"}')
    written(folder / "data" / "test-00000-of-00001.jsonl", b'{"text": "b"}')
    assert [each.place for each in read(folder)] == ["data/train-00000-of-00001.jsonl:1"]
