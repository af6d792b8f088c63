"""Tables: .csv, .tsv, .parquet, and data sets saved by `datasets`."""

import csv
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from documents import problem, scanned, texts, written

from eyas.data.reading import ReadConfig

MAP = ReadConfig(map=("prompt:user,reply:assistant",))


def test_csv_as_the_library_writes_it(tmp_path: Path) -> None:
    values = ["a,b", 'say "x"', "two\r\nlines", "é\n\n😀", " ;\t|"]
    for delimiter in (",", ";", "\t", "|"):
        path = tmp_path / "d.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter=delimiter)
            writer.writerows([["id", "text"], *enumerate(values)])
        assert texts(path) == values
        path.rename(tmp_path / "d.tsv")
        if delimiter == "\t":
            assert texts(tmp_path / "d.tsv") == values


def test_csv_places_are_the_lines_where_rows_begin(tmp_path: Path) -> None:
    path = written(tmp_path / "d.csv", b'\ntext\n\n"a\nb"\n"c"x\nd\ne,f\n')
    assert scanned(path) == {
        "d.csv:4": "a\nb",
        "d.csv:6": "has a quotation mark within a quoted field; double it",
        "d.csv:7": "d",
        "d.csv:8": "has 2 fields where the header has 1; put quotation marks around a field that "
        "holds the delimiter or a line end",
    }


def test_csv_of_conversations(tmp_path: Path) -> None:
    turns = json.dumps([{"role": "user", "content": "q"}])
    with (tmp_path / "d.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["messages"], [turns]])
    assert texts(tmp_path / "d.csv") == ["User: q"]


def test_csv_with_a_map(tmp_path: Path) -> None:
    path = written(tmp_path / "d.csv", b"prompt,reply,text\nq,r,t\n")
    assert texts(path, MAP) == ["User: q\n\nAssistant: r"]
    path = written(tmp_path / "d.csv", b"prompt,replies\nq,r\n")
    assert problem(path, MAP) == (
        "d.csv:1: the header has no column \"reply\", which --map names (its fields: ['prompt', "
        "'replies']); name one that it has; did you mean 'replies'?; the first row has to name "
        "the columns"
    )


def test_csv_of_a_chinese_excel(tmp_path: Path) -> None:
    content = "编号,问题,答案\n1,你好吗？,我很好，谢谢。\n".encode("gbk")
    path = written(tmp_path / "d.csv", content)
    said = problem(path)
    assert said.startswith("d.csv:1: the header is not UTF-8 (byte 0xb1)")
    assert "--encoding gb18030" in said
    asked = ["User: 你好吗？\n\nAssistant: 我很好，谢谢。"]
    assert texts(path, ReadConfig(encoding="gb18030")) == asked


def test_csv_fields_may_be_long(tmp_path: Path) -> None:
    path = written(tmp_path / "d.csv", b'text\n"' + b"x," * 1_000_000 + b'"\n')
    assert texts(path) == ["x," * 1_000_000]


@pytest.mark.parametrize("compression", ["snappy", "zstd"])
def test_parquet(tmp_path: Path, compression: str) -> None:
    expected = [f"{number} {'é' * (number % 50)}" for number in range(1200)]
    table = pyarrow.table(
        {
            "id": range(1200),
            "question": expected,
            "picture": [bytes(10)] * 1200,
            "answer": expected,
        }
    )
    path = tmp_path / "d.parquet"
    pyarrow.parquet.write_table(table, path, row_group_size=700, compression=compression)
    assert scanned(path) == {
        f"d.parquet row {number}": f"User: {text.strip()}\n\nAssistant: {text.strip()}"
        for number, text in enumerate(expected, start=1)
    }


def test_parquet_of_conversations(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}]},
        {"messages": [{"role": "user", "content": "q", "tool_calls": [{"name": "f"}]}]},
        {"messages": None},
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "d.parquet")
    assert scanned(tmp_path / "d.parquet") == {
        "d.parquet row 1": "User: q\n\nAssistant: r",
        "d.parquet row 2": "User: q",
        "d.parquet row 3": '"messages" is null, not a list; it must be '
        '[{"role": "user", "content": "..."}, ...]',
    }


def test_parquet_columns_that_say_nothing(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"a": ["x"], "b": ["y"]}), path)
    assert problem(path).startswith("d.parquet: the table is no record that eyas knows (its fields")
    assert texts(path, ReadConfig(map=("b:text",))) == ["y"]


def test_parquet_text_that_is_not_utf8(tmp_path: Path) -> None:
    raw = pyarrow.array([b"a", b"\xff", b"c"]).cast(pyarrow.binary())
    text = pyarrow.Array.from_buffers(pyarrow.string(), 3, raw.buffers())
    pyarrow.parquet.write_table(pyarrow.table({"text": text}), tmp_path / "d.parquet")
    found = scanned(tmp_path / "d.parquet")
    assert list(found.values())[::2] == ["a", "c"]
    assert found["d.parquet row 2"].startswith("holds text that is not UTF-8")


def saved(folder: Path, values: dict[str, list[str]]) -> Path:
    """What `Dataset.save_to_disk` writes: a file of each."""
    folder.mkdir(parents=True)
    for name, texts_of_file in values.items():
        table = pyarrow.table({"id": range(len(texts_of_file)), "text": texts_of_file})
        with pyarrow.ipc.new_stream(folder / name, table.schema) as stream:
            stream.write_table(table)
    state = {"_data_files": [{"filename": name} for name in values], "_split": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def test_a_saved_data_set(tmp_path: Path) -> None:
    many = [str(number) for number in range(2000)]
    folder = saved(tmp_path / "set", {"data-00000.arrow": many, "data-00001.arrow": ["x"]})
    found = scanned(folder)
    assert list(found.values()) == [*many, "x"]
    assert list(found)[-2:] == ["data-00000.arrow row 2000", "data-00001.arrow row 1"]
    damaged = folder / "data-00001.arrow"
    damaged.write_bytes(damaged.read_bytes()[:-40])
    assert "set/data-00001.arrow: is no arrow file, or is damaged (" in problem(folder)
    damaged.unlink()
    assert "data-00001.arrow: cannot be read (No such file or directory)" in problem(folder)
    (folder / "state.json").write_text("{")
    assert problem(folder) == "set/state.json: is damaged; save the data set again"


def test_a_saved_data_set_of_several_parts(tmp_path: Path) -> None:
    folder = tmp_path / "sets"
    saved(folder / "train", {"data.arrow": ["a"]})
    saved(folder / "test", {"data.arrow": ["b"]})
    parts = folder / "dataset_dict.json"
    parts.write_text('{"splits": ["test", "train"]}')
    assert scanned(folder) == {"train/data.arrow row 1": "a"}
    assert texts(folder / "test") == ["b"]
    parts.write_text('{"splits": ["test"]}')
    assert texts(folder) == ["b"]
    parts.write_text('{"splits": ["test", "other"]}')
    assert problem(folder) == "sets: holds the parts test, other; name one, such as sets/test"


def test_what_datasets_itself_saves(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="the extra eyas[hub] is not installed")
    datasets.disable_progress_bars()
    rows = [{"text": "a", "n": 1}, {"text": "b", "n": 2}, {"text": "c", "n": 3}]
    whole = datasets.Dataset.from_list(rows)
    whole.save_to_disk(tmp_path / "one", num_shards=2)
    assert texts(tmp_path / "one") == ["a", "b", "c"]
    whole.select([2, 0]).save_to_disk(tmp_path / "some")
    assert texts(tmp_path / "some") == ["c", "a"]
    parts = datasets.DatasetDict({"train": whole, "test": whole.select([0])})
    parts.save_to_disk(tmp_path / "parts")
    assert texts(tmp_path / "parts") == ["a", "b", "c"]
    whole.to_parquet(tmp_path / "d.parquet")
    assert texts(tmp_path / "d.parquet") == ["a", "b", "c"]
