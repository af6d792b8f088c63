"""JSON that is no JSON Lines."""

import json
from io import BytesIO, RawIOBase, TextIOWrapper
from pathlib import Path

import pytest
from documents import problem, scanned, texts, written

from eyas.data.reading import ReadConfig
from eyas.data.reading.json_records import json_records

A, B = {"text": "a"}, {"text": "b"}
AWKWARD = [
    {"text": 'quotes " and \\ and 😀 and \u2028', "n": [1, -2.5e-3, True, None, float("inf")]},
    {"text": "[{}],:", "deep": {"list": [[{"x": {}}]]}},
    {"text": "é" * 50},
]


class Trickle(RawIOBase):
    """A stream that gives a few bytes at a time, as slow ones do."""

    def __init__(self, content: bytes, size: int) -> None:
        self._content, self._size = BytesIO(content), size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:
        return self._content.readinto(memoryview(buffer)[: self._size])


class Kept(BytesIO):
    """Closed only in name: the place it was read to can still be seen."""

    def close(self) -> None:
        pass


def records(content: bytes, size: int) -> list[object]:
    """The records of JSON that comes so many bytes at a time."""

    class Stream(TextIOWrapper):
        def read(self, size: int | None = -1) -> str:  # noqa: ARG002  as much as there is
            return super().read(1)

    def reopen() -> TextIOWrapper:
        return Stream(Trickle(content, size), "utf-8")  # type: ignore[arg-type]

    found = json_records(reopen, "d.json", "utf-8", lambda name: name == "text")
    return [item if isinstance(item, tuple) else str(item) for item in found]


@pytest.mark.parametrize("escaped", [True, False])
@pytest.mark.parametrize("indent", [None, 2])
def test_wherever_the_window_ends(indent: int | None, escaped: bool) -> None:
    whole = json.dumps(AWKWARD, indent=indent, ensure_ascii=escaped)
    found = records(whole.encode(), 1)
    assert [value for _, value in found] == AWKWARD
    within = json.dumps({"version": 1.5, "test": [A], "rows": AWKWARD}, indent=indent)
    assert [value for _, value in records(within.encode(), 1)] == AWKWARD
    stream = "\n".join(json.dumps(record, indent=indent) for record in AWKWARD)
    assert [value for _, value in records(stream.encode(), 1)] == AWKWARD


def test_longer_than_the_window(tmp_path: Path) -> None:
    expected = [f"{number} {'xé' * 300_000}" for number in range(6)]
    path = tmp_path / "d.json"
    for data in (
        [{"text": text} for text in expected],
        {"data": [{"text": text} for text in expected]},
    ):
        path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
        assert texts(path) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ([A, B], ["a", "b"]),
        (A, ["a"]),
        ({"data": [A, B]}, ["a", "b"]),
        ({"version": "1", "data": [A, B], "n": 2}, ["a", "b"]),
        ({"train": [A], "test": [B], "validation": [B]}, ["a"]),
        ({"meta": ["x", 1], "rows": [A]}, ["a"]),
        ({"conversations": [{"from": "human", "value": "u"}]}, ["User: u"]),
        ({"id": 1, "question": "q", "answer": "r"}, ["User: q\n\nAssistant: r"]),
    ],
)
def test_what_an_object_holds(tmp_path: Path, data: object, expected: list[str]) -> None:
    assert texts(written(tmp_path / "d.json", json.dumps(data).encode())) == expected
    assert texts(written(tmp_path / "e.json", json.dumps(data, indent=1).encode())) == expected


def test_map_says_that_an_object_is_a_record(tmp_path: Path) -> None:
    path = written(tmp_path / "d.json", b'{"turns": [{"role": "user", "content": "u"}]}')
    assert "is no record that eyas knows (its fields: ['role', 'content'])" in problem(path)
    assert texts(path, ReadConfig(map=("turns:messages",))) == ["User: u"]


def test_places_have_lines_and_numbers(tmp_path: Path) -> None:
    path = written(tmp_path / "d.json", b'[{"text": "a"},\n\n {"text": "b"}, {"text": 1},\n"x"]')
    assert scanned(path) == {
        "d.json:1 record 1": "a",
        "d.json:3 record 2": "b",
        "d.json:3 record 3": '"text" is a number, not a string; make it one',
        "d.json:4 record 4": "is a string ('x'), not an object; each record must be "
        '{"text": "..."} or {"messages": [{"role": "user", "content": "..."}, ...]}',
    }


def test_what_comes_before_a_mistake_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "d.json", b'[{"text": "a"},\n{"text" "b"}]')
    assert scanned(path) == {
        "d.json:1 record 1": "a",
        "d.json:2": "bad JSON (Expecting ':' delimiter at character 25); mend it there",
    }
    assert path.read_bytes()[24:25] == b'"'


def test_a_mistake_does_not_take_the_whole_file_into_memory() -> None:
    content = b'[{"text": nonsense},\n' + b'{"text": "a"},\n' * 300_000
    files: list[BytesIO] = []

    def reopen() -> TextIOWrapper:
        files.append(Kept(content))
        return TextIOWrapper(files[-1], "utf-8")

    assert len(list(json_records(reopen, "d.json", "utf-8", lambda _: True))) == 1
    assert 0 < max(file.tell() for file in files) < len(content) / 2


def test_the_type_decides_what_the_name_does_not(tmp_path: Path) -> None:
    for name in ("array.data", "array.txt"):
        path = written(tmp_path / name, b'[{"text": "a"},\n{"text": "b"}]')
        assert texts(path, ReadConfig(data_type="json")) == ["a", "b"]
