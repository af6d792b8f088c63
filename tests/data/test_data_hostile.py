"""Files as they come from users: each is read as they would expect, or refused with a next step."""

import gzip
import json
import os
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from documents import lines, problem, scanned, texts, written

from eyas.data.reading import ReadConfig, read_documents
from eyas.errors import UserError

A, B = {"text": "a"}, {"text": "b"}
GOOD = lines(A, B)
CHINESE = "你好，今天天气很好，我们去公园玩。"


# name of the file, its content, the texts that it holds
READ = {
    "a byte order mark": ("d.jsonl", b"\xef\xbb\xbf" + GOOD, ["a", "b"]),
    "line ends of Windows": ("d.jsonl", b'{"text": "a"}\r\n\r\n{"text": "b"}\r\n', ["a", "b"]),
    "UTF-16 with a mark": (
        "d.jsonl",
        '{"text": "é\u2028"}\n{"text": "b"}'.encode("utf-16"),
        ["é\u2028", "b"],
    ),
    "UTF-32 with a mark": ("d.json", '[{"text": "é"}]'.encode("utf-32"), ["é"]),
    "a JSON array in lines": ("d.jsonl", json.dumps([A, B]).encode(), ["a", "b"]),
    "a JSON array over lines": ("d.jsonl", json.dumps([A, B], indent=2).encode(), ["a", "b"]),
    "objects over lines": ("d.jsonl", b'{\n"text": "a"\n}\n{\n"text": "b"\n}\n', ["a", "b"]),
    "objects without a line end": (
        "d.jsonl",
        b'{"text": "a"}{"text": "b"} {"text": "c"}',
        ["a", "b", "c"],
    ),
    "JSON lines in .json": ("d.json", GOOD + b"\n", ["a", "b"]),
    "NaN and infinity beside": (
        "d.jsonl",
        b'{"text": "a", "x": NaN, "y": -Infinity, "z": 1e999}',
        ["a"],
    ),
    "line separators in a text": (
        "d.jsonl",
        lines({"text": "a\u2028b\u2029c\x85d\x0ce"}),
        ["a\u2028b\u2029c\x85d\x0ce"],
    ),
    "NUL as an escape": ("d.jsonl", rb'{"text": "\u0000\ud83d\ude00"}', ["\0😀"]),
    "a very long key": ("d.jsonl", lines({"k" * 100_000: 1, "text": "a"}), ["a"]),
    "one huge line": ("d.jsonl", lines({"text": "x" * 10_000_000}), ["x" * 10_000_000]),
    "mixed shapes": (
        "d.jsonl",
        lines(
            A, {"messages": [{"role": "user", "content": "u"}]}, {"question": "q", "answer": "r"}
        ),
        ["a", "User: u", "User: q\n\nAssistant: r"],
    ),
    "a role in capitals": (
        "d.jsonl",
        lines(
            {"messages": [{"role": "USER", "content": "a"}, {"role": "Assistant", "content": "b"}]}
        ),
        ["User: a\n\nAssistant: b"],
    ),
    "a field in capitals": ("d.jsonl", lines({"Text": "a"}), ["a"]),
    "semicolons and a mark": (
        "d.csv",
        '\ufeffquestion;answer\r\n"q;""1";r\r\n'.encode(),
        ['User: q;"1\n\nAssistant: r'],
    ),
    "gzip in parts": (
        "d.jsonl.gz",
        gzip.compress(b'{"text": "a"}\n') + gzip.compress(b'{"text": "b"}'),
        ["a", "b"],
    ),
    "zstandard in parts": (
        "d.jsonl.zst",
        zstandard.compress(b'{"text": "a"}\n') + zstandard.compress(b'{"text": "b"}'),
        ["a", "b"],
    ),
    "a .gz that is none": ("d.jsonl.gz", GOOD, ["a", "b"]),
    "gzip by another name": ("d.jsonl", gzip.compress(GOOD), ["a", "b"]),
    "a text with a NUL": ("d.txt", b"a" * 500 + b"\0", ["a" * 500 + "\0"]),
}


@pytest.mark.parametrize(("name", "content", "expected"), READ.values(), ids=READ)
def test_read_as_one_would_expect(
    tmp_path: Path, name: str, content: bytes, expected: list[str]
) -> None:
    assert texts(written(tmp_path / name, content)) == expected


# name of the file, its content, how the error begins, and what it goes on to say
REFUSED = {
    "empty": ("d.jsonl", b"", "d.jsonl: holds no documents", "each record must be"),
    "blank lines": ("d.jsonl", b"\n \t\r\n\n", "d.jsonl: holds no documents", "must be"),
    "an empty .json": ("d.json", b" ", "d.json: holds no documents", "must be"),
    "an empty array": ("d.json", b"[]", "d.json: holds no documents", "must be"),
    "an empty .csv": ("d.csv", b"", "d.csv: holds no documents", "must be"),
    "a header alone": ("d.csv", b"text\n", "d.csv: holds no documents", "must be"),
    "an empty .txt": ("d.txt", b"\r\n", "d.txt:1: the file is empty", "remove it"),
    "an empty .gz": ("d.jsonl.gz", gzip.compress(b""), "d.jsonl.gz: holds no documents", "must"),
    "UTF-16 without a mark": (
        "d.jsonl",
        GOOD.decode().encode("utf-16-le"),
        "d.jsonl: is utf-16-le without",
        "--encoding utf-16-le",
    ),
    "UTF-16 cut off": (
        "d.jsonl",
        GOOD.decode().encode("utf-16")[:-1],
        "d.jsonl:2: is not UTF-16",
        "copy or download",
    ),
    "UTF-16 cut off in a table": (
        "d.csv",
        "text\na\nb".encode("utf-16")[:-1],
        "d.csv: is not UTF-16-LE (truncated data)",
        "copy or download",
    ),
    "GBK": (
        "d.jsonl",
        f'{{"text": "{CHINESE}"}}'.encode("gbk"),
        "d.jsonl:1: is not UTF-8 (byte 0xc4 at offset 10) but probably gb18030",
        "--encoding gb18030",
    ),
    "GBK in a .txt": (
        "d.txt",
        f"a\n{CHINESE}".encode("gbk"),
        "d.txt:2: is not UTF-8",
        "--encoding gb18030",
    ),
    "GBK in a .csv": (
        "d.csv",
        f"text\n{CHINESE}\n".encode("gbk"),
        "d.csv:2: is not UTF-8",
        "--encoding gb18030",
    ),
    "GBK in a .json": (
        "d.json",
        f'[{{"text": "a"}},\n{{"text": "{CHINESE}"}}]'.encode("gbk"),
        "d.json:2 record 2: is not UTF-8",
        "--encoding gb18030",
    ),
    "Windows-1252": (
        "d.jsonl",
        '{"text": "déjà vu, très bien"}'.encode("cp1252"),
        "d.jsonl:1: is not UTF-8",
        "--encoding cp1252",
    ),
    "a line cut off": (
        "d.jsonl",
        GOOD[:-4],
        "d.jsonl:2: bad JSON: the file ends in the middle",
        "copy or download",
    ),
    "bad JSON in line 3": (
        "d.jsonl",
        lines(A, A, b'{"text" "b"}', A),
        "d.jsonl:3: bad JSON (Expecting ':' delimiter at column 9)",
        "mend",
    ),
    "lines with commas": (
        "d.jsonl",
        b'{"text": "a"},\n{"text": "b"},\n',
        "d.jsonl: 2 bad records: line 1: bad JSON (Extra data",
        "line 2",
    ),
    "Python dicts in .json": (
        "d.json",
        b"[{'text': 'a'}]",
        "d.json:1: bad JSON: single quotes",
        "json.dumps",
    ),
    "deep nesting in .json": (
        "d.json",
        b"[" * 200_000,
        "d.json:1: bad JSON: a number or a nesting",
        "smaller",
    ),
    "a key twice in .json": (
        "d.json",
        b'[{"text": "a", "text": "b"}, {"text": "c"}]',
        "d.json:1 record 1: has the key 'text' twice",
        "keep one",
    ),
    "columns in .json": (
        "d.json",
        b'{"text": {"0": "a", "1": "b"}}',
        'd.json:1 record 1: "text" is an object',
        "make it one",
    ),
    "a .json cut off": (
        "d.json",
        b'[{"text": "a"},\n{"text": "b',
        "d.json:2: bad JSON: the file ends in the middle",
        "copy or download",
    ),
    "something behind the array": (
        "d.json",
        b'[{"text": "a"}]\n[]',
        "d.json:2: bad JSON ('[' follows the end of the array at character 17)",
        "mend",
    ),
    "a comma at the end of an array": (
        "d.json",
        b'[{"text": "a"},\n]',
        "d.json:2: bad JSON (",
        "mend",
    ),
    "two lists in an object": (
        "d.json",
        b'{"a": [{"text": "a"}], "b": [{"text": "b"}]}',
        "d.json: holds several lists of records ('a', 'b')",
        "a file of its own",
    ),
    "a .csv without a header": (
        "d.csv",
        b"Hello,World\nHow,Fine\n",
        "d.csv:1: the header is no record that eyas knows (its fields: ['Hello', 'World'])",
        "the first row has to name",
    ),
    "rows of other widths": (
        "d.csv",
        b"question,answer\na,b,c\nd,e\nf\n",
        "d.csv: 2 bad records: line 2: has 3 fields where the header has 2",
        "line 4: has 1",
    ),
    "an open quote": (
        "d.csv",
        b'text\na\n"b\nc\n',
        "d.csv:3: has a quotation mark that is never closed",
        "double it",
    ),
    "a quote within quotes": (
        "d.csv",
        b'text\n"b" c"\nd\n',
        "d.csv:2: has a quotation mark within a quoted field",
        "double it",
    ),
    "a column twice": (
        "d.csv",
        b"text,text\na,b\n",
        "d.csv:1: the header has the column 'text' twice",
        "rename",
    ),
    "a .gz cut off": (
        "d.jsonl.gz",
        gzip.compress(GOOD)[:-6],
        "d.jsonl.gz: the gzip file is cut off",
        "copy or download",
    ),
    "a .gz with damage": (
        "d.jsonl.gz",
        gzip.compress(GOOD)[:10] + b"\xff" * 30,
        "d.jsonl.gz: the gzip file is damaged",
        "copy or download",
    ),
    "a .zst cut off": (
        "d.jsonl.zst",
        zstandard.compress(GOOD)[:-3],
        "d.jsonl.zst: the zstandard file is cut off",
        "copy or download",
    ),
    "a .zst with damage": (
        "d.jsonl.zst",
        zstandard.compress(GOOD)[:4] + b"\xff" * 30,
        "d.jsonl.zst: the zstandard file is damaged",
        "copy or download",
    ),
    "parquet that is none": (
        "d.parquet",
        GOOD,
        "d.parquet: is no parquet file, or is damaged",
        "copy or download",
    ),
    "an empty .parquet": ("d.parquet", b"", "d.parquet: is no parquet file", "copy or download"),
    "parquet by another name": (
        "d.jsonl",
        b"PAR1" + bytes(100),
        "d.jsonl: is a parquet file",
        "--data-type parquet",
    ),
    "compressed parquet": (
        "d.parquet.gz",
        gzip.compress(b"PAR1"),
        "d.parquet.gz: is compressed twice",
        "unpack it",
    ),
    "an HTML page": (
        "d.jsonl",
        b"\n<!DOCTYPE html>\n<html>",
        "d.jsonl: is an HTML page, not data",
        "download the file itself",
    ),
    "a Git LFS pointer": (
        "d.txt",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "d.txt: is a Git LFS pointer",
        "git lfs pull",
    ),
    "a pickle": (
        "d.jsonl",
        b"\x80\x04\x95" + bytes(20),
        "d.jsonl: is a Python pickle, which can run any code",
        "write it as .jsonl",
    ),
    "zeros": ("d.txt", bytes(5000), "d.txt: is not text", "--data-type"),
    "a name that says nothing": (
        "d.dat",
        GOOD,
        "d.dat: unknown kind of data '.dat'",
        "--data-type",
    ),
    "a table of Excel": (
        "d.xlsx",
        b"PK\x03\x04",
        "d.xlsx: unknown kind of data '.xlsx'",
        "save it as .csv",
    ),
}


@pytest.mark.parametrize(("name", "content", "begin", "then"), REFUSED.values(), ids=REFUSED)
def test_refused_with_place_and_next_step(
    tmp_path: Path, name: str, content: bytes, begin: str, then: str
) -> None:
    said = problem(written(tmp_path / name, content))
    assert said.startswith(begin)
    assert then in said[len(begin) :]
    assert len(said) < 500


def test_the_encoding_that_is_offered_works(tmp_path: Path) -> None:
    record = {"text": CHINESE}
    text = json.dumps(record, ensure_ascii=False)
    config = ReadConfig(encoding="gb18030")
    for name, content in {
        "d.jsonl": f"{text}\n{text}",
        "d.json": f"[{text}, {text}]",
        "d.csv": f"text\n{CHINESE}\n{CHINESE}\n",
    }.items():
        assert texts(written(tmp_path / name, content.encode("gbk")), config) == [CHINESE] * 2
    assert texts(written(tmp_path / "d.txt", CHINESE.encode("gbk")), config) == [CHINESE]
    wide = written(tmp_path / "wide.jsonl", text.encode("utf-16-be"))
    assert texts(wide, ReadConfig(encoding="utf-16-be")) == [CHINESE]


@pytest.mark.parametrize("name", ["utf-16", "UTF16", "utf-32"])
@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".txt"])
def test_a_wide_encoding_without_a_mark_is_little_endian(
    tmp_path: Path, name: str, suffix: str
) -> None:
    content = {".csv": f"text\n{CHINESE}\n", ".txt": CHINESE}.get(
        suffix, json.dumps({"text": CHINESE}, ensure_ascii=False)
    )
    kind = "utf-32-le" if "32" in name else "utf-16-le"
    path = written(tmp_path / f"d{suffix}", content.encode(kind))
    assert texts(path, ReadConfig(encoding=name)) == [CHINESE]


def test_bad_records_of_a_file_are_reported_together(tmp_path: Path) -> None:
    path = written(tmp_path / "d.jsonl", lines(A, b"{", B, {"x": 1}, b"\xff", *[b"{"] * 4))
    said = problem(path)
    assert said.startswith("d.jsonl: 7 bad records: line 2: bad JSON (")
    assert "; line 4: is no record that eyas knows" in said
    assert "; line 5: is not UTF-8 (byte 0xff at offset " in said
    assert said.endswith("; and 2 more")
    assert "line 7" in said
    assert "line 8" not in said
    found = scanned(path)
    assert list(found) == [f"d.jsonl:{number}" for number in range(1, 10)]
    assert (found["d.jsonl:1"], found["d.jsonl:3"]) == ("a", "b")


def test_nothing_comes_after_the_first_bad_record(tmp_path: Path) -> None:
    path = written(tmp_path / "d.jsonl", lines(A, b"{", B))
    documents = read_documents(path, ReadConfig())
    assert next(documents).place == "d.jsonl:1"
    with pytest.raises(UserError, match=r"d\.jsonl:2: bad JSON"):
        next(documents)


def test_a_damaged_file_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    whole = lines(*[{"text": os.urandom(300).hex()} for _ in range(2000)])
    for name, content in {
        "d.jsonl.gz": gzip.compress(whole),
        "d.jsonl.zst": zstandard.compress(whole),
    }.items():
        found = scanned(written(tmp_path / name, content[: len(content) // 2]))
        *_, last, bad = found
        assert 500 < len(found) < 1500
        assert bad == name
        assert found[bad].endswith(f"(read up to {last})")
    table = pyarrow.table({"text": [os.urandom(300).hex() for _ in range(2000)]})
    path = tmp_path / "d.parquet"
    pyarrow.parquet.write_table(table, path, row_group_size=512, compression="gzip")
    content = path.read_bytes()
    middle = len(content) // 2
    found = scanned(written(path, content[:middle] + bytes(5000) + content[middle + 5000 :]))
    assert "d.parquet row 512" in found
    assert "is damaged (" in found["d.parquet"]
    assert found["d.parquet"].endswith("read up to d.parquet row 512); copy or download it again")
    assert "is no parquet file, or is damaged" in problem(written(path, content[:-100]))


def test_data_that_never_worked_anywhere() -> None:
    with pytest.raises(ValueError, match=r"^data_type wds_img was left over from an image"):
        ReadConfig(data_type="wds_img")
