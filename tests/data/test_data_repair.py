"""Repaired copies of files: what is in them, what is told, and what is left alone."""

import gzip
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from eyas.data.lint import Linter
from eyas.data.reading import ReadConfig, scan
from eyas.data.repair import Repaired, repair
from eyas.errors import UserError

AS_IT_IS = ReadConfig()
BROKEN = "User: cafÃ©?\nAssistent: oui"
RIGHT = "User: café?\n\nAssistant: oui"
CHINESE = "User: 北京在哪里？\n\nAssistant: 在中国，它是首都。"
MESSAGES = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}


def made(source: Path, name: str = "out.jsonl", config: ReadConfig = AS_IT_IS) -> Repaired:
    folder = source.parent / "made"
    folder.mkdir(exist_ok=True)
    before = source.read_bytes() if source.is_file() else None
    done = repair(source, folder / name, config, False)
    assert before is None or source.read_bytes() == before
    expected = {done.out, done.report, *([done.rejected] if done.rejected else [])}
    assert set(folder.iterdir()) == expected
    return done


def records(path: Path) -> list[object]:
    return [json.loads(line) if line else None for line in path.read_text("utf-8").splitlines()]


def repairable(path: Path) -> list[str]:
    """What is found in a file that a copy would have repaired."""
    linter = Linter()
    for record in scan(path, AS_IT_IS):
        linter.look(record)
    return [kind.label for kind in linter.found if kind.repair]


def lines_of(source: Path, *lines: bytes) -> Path:
    source.write_bytes(b"\n".join(lines))
    return source


def test_lines_keep_their_numbers_and_good_ones_their_bytes(tmp_path: Path) -> None:
    odd = b'{ "text":"as it is \\u4f60",  "n":1.50}'
    source = lines_of(
        tmp_path / "d.jsonl",
        b"\xef\xbb\xbf" + odd + b"\r",
        b"",
        json.dumps({"text": BROKEN, "id": 7}).encode(),
        b'{"text": "cut off',
        json.dumps(MESSAGES).encode() + b"\r",
        b'{"text": "half a \\ud83d pair"}',
        json.dumps({"text": CHINESE}, ensure_ascii=False).encode("gbk"),
        b'{"text": "raw \0 NUL"}',
        b'{"question": "no answer"}',
        b'{"text": ""}',
    )
    done = made(source)
    lines = done.out.read_bytes().split(b"\n")
    assert lines.pop() == b""
    assert lines[0] == odd
    assert lines[4] == json.dumps(MESSAGES).encode()
    assert records(done.out) == [
        json.loads(odd),
        None,
        {"text": RIGHT, "id": 7},
        None,
        MESSAGES,
        {"text": "half a  pair"},
        {"text": CHINESE},
        {"text": "raw  NUL"},
        None,
        None,
    ]
    assert repairable(done.out) == []
    assert repairable(source) != []
    aside = records(done.rejected)
    assert [each["place"] for each in aside] == ["d.jsonl:4", "d.jsonl:9", "d.jsonl:10"]
    assert aside[0]["record"] == '{"text": "cut off'
    account = done.account
    assert (account.records, account.changed, account.put_aside) == (6, 5, 3)


def test_the_report_tells_every_change(tmp_path: Path) -> None:
    source = lines_of(tmp_path / "d.jsonl", *[json.dumps({"text": BROKEN}).encode()] * 7, b"[")
    report = made(source).report.read_text("utf-8").splitlines()
    assert report[:3] == [
        "d.jsonl:1: mojibake, text decoded with a wrong encoding 'User: cafÃ©?'",
        "d.jsonl:1: no blank line before a turn 'Assistent: oui'",
        "d.jsonl:1: a misspelled role (User:, Assistant:, System: are right) 'Assistent:'",
    ]
    assert [line.split(": ")[0] for line in report[:21]] == [
        f"d.jsonl:{1 + i // 3}" for i in range(21)
    ]
    assert report[21].startswith("d.jsonl:8: put aside: bad JSON")
    assert "7 records, 7 of them changed" in report
    assert "7 x no blank line before a turn: put in" in report


@pytest.mark.parametrize("encoding", ["utf-8", "gbk", "utf-16", "utf-8-sig", "big5"])
def test_a_text_stays_a_text(tmp_path: Path, encoding: str) -> None:
    text = "第一章\r\n\r\nUser: 這是什麼\r\nAssistant：山\r\n" if encoding == "big5" else (
        "第一章\r\n\r\nUser: 你好\r\nAssistant：山\r\n"
    )  # fmt: skip
    (tmp_path / "d.txt").write_bytes(text.encode(encoding))
    done = made(tmp_path / "d.txt", "out.txt")
    right = text.replace("\r\n", "\n").replace("\nAssistant：", "\n\nAssistant: ")
    assert done.out.read_bytes() == right.encode()
    report = done.report.read_text("utf-8")
    assert "d.txt:4: no blank line before a turn 'Assistant：山'" in report
    assert ("made UTF-8" in report) == (encoding in ("gbk", "utf-16", "big5"))
    assert repairable(done.out) == []


def test_other_kinds_become_json_lines(tmp_path: Path) -> None:
    rows = [{"text": BROKEN}, {"text": "a plain text"}]
    right = [{"text": RIGHT}, {"text": "a plain text"}]
    (tmp_path / "d.json").write_text(json.dumps(rows))
    (tmp_path / "d.csv").write_text(f'text\n"{BROKEN}"\na plain text\n', "utf-8")
    pa.parquet.write_table(
        pa.table({"text": [row["text"] for row in rows]}), tmp_path / "d.parquet"
    )
    with gzip.open(tmp_path / "d.jsonl.gz", "wt") as file:
        file.writelines(f"{json.dumps(row)}\n" for row in rows)
    for name in ("d.json", "d.csv", "d.parquet", "d.jsonl.gz"):
        assert records(made(tmp_path / name, f"{name}.jsonl").out) == right
        for left_over in (tmp_path / "made").iterdir():
            left_over.unlink()


def test_a_table_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_bytes("问题,答案\n你好,世界\n".encode("gbk"))
    done = made(tmp_path / "d.csv", config=ReadConfig(map=("问题:user,答案:assistant",)))
    assert records(done.out) == [{"问题": "你好", "答案": "世界"}]
    assert "d.csv: text that is not UTF-8 but gb18030" in done.report.read_text("utf-8")


def test_a_folder_becomes_one_file(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text(BROKEN, "utf-8")
    (folder / "b.txt").write_bytes(CHINESE.encode("gbk"))
    (folder / "c.txt").write_bytes(b"")
    done = made(folder)
    assert records(done.out) == [{"text": RIGHT}, {"text": CHINESE}]
    assert [each["place"] for each in records(done.rejected)] == ["c.txt"]


def test_a_field_that_is_the_text_by_a_map(tmp_path: Path) -> None:
    source = lines_of(tmp_path / "d.jsonl", json.dumps({"body": BROKEN, "text": BROKEN}).encode())
    done = made(source, config=ReadConfig(map=("body:text",)))
    # What is not the text is no conversation; its characters are mended all the same.
    assert records(done.out) == [{"body": RIGHT, "text": BROKEN.replace("Ã©", "é")}]


def test_what_cannot_be_repaired(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "d.bin").touch()
    (tmp_path / "d.txt").write_bytes(b"   ")
    (tmp_path / "x.txt").write_bytes(random.Random(0).randbytes(500))
    (tmp_path / "old.jsonl").touch()
    (tmp_path / "new.jsonl.report.txt").touch()
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for source, out, said in (
        ("d.jsonl", "d.jsonl", "lies in the data"),
        ("d.jsonl", "out.txt", "name it out.jsonl"),
        ("d.txt", "out.jsonl", "name it out.txt"),
        ("d.jsonl", "old.jsonl", "--overwrite"),
        ("d.jsonl", "new.jsonl", "new.jsonl.report.txt: exists already"),
        ("d.jsonl", "nowhere/out.jsonl", "does not exist"),
        ("d.bin", "out.jsonl", "holds tokens"),
        ("none.jsonl", "out.jsonl", "no such file"),
        ("d.txt", "out.txt", "empty"),
        ("x.txt", "out.txt", "is in no encoding that eyas knows"),
        (".", "out.txt", "choose with --data-type"),
    ):
        with pytest.raises(UserError) as caught:
            repair(tmp_path / source, tmp_path / out, AS_IT_IS, False)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_overwriting_leaves_nothing_old(tmp_path: Path) -> None:
    source = lines_of(tmp_path / "d.jsonl", b'{"text": "a"}', b"{")
    for _ in range(2):
        done = repair(source, tmp_path / "out.jsonl", AS_IT_IS, True)
        assert done.rejected is not None
        assert done.rejected.exists()
    lines_of(source, b'{"text": "a"}')
    assert repair(source, tmp_path / "out.jsonl", AS_IT_IS, True).rejected is None
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "d.jsonl",
        "out.jsonl",
        "out.jsonl.report.txt",
    ]


def test_a_line_end_of_another_width_is_one(tmp_path: Path) -> None:
    first = '{"text": "User: a\\n\\nAssistant: b"}'
    source = tmp_path / "d.jsonl"
    source.write_bytes(f"{first}\r\n".encode("utf-16-le") + b"\n{}")
    copy = made(source, config=ReadConfig(encoding="utf-8")).out
    assert copy.read_bytes().splitlines(keepends=True)[0] == f"{first}\n".encode()
