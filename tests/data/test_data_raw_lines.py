"""Lines of files in one encoding or in several, and what is seen of files from outside."""

import gzip
from pathlib import Path

import pytest

from eyas.data.lint import BOM, CRLF
from eyas.data.outward import data_files_at, outward_findings
from eyas.data.raw_lines import encodings_of, raw_lines
from eyas.data.reading import ReadConfig
from eyas.errors import UserError

CHINESE = "这是一个测试，北京是中国的首都。"


def read(path: Path, given: str | None = None) -> list[tuple[int, str, str, str | None]]:
    return [tuple(line) for line in raw_lines(path, encodings_of(path, given))]


def test_each_line_in_its_own_encoding(tmp_path: Path) -> None:
    path = tmp_path / "d.txt"
    path.write_bytes(f"é{CHINESE}\r\n".encode() + f"{CHINESE}\n".encode("gbk") + b"\xff\n\nz")
    assert read(path) == [
        (1, f"é{CHINESE}", "\r\n", "utf-8"),
        (2, CHINESE, "\n", "gb18030"),
        (3, "\\xff", "\n", None),
        (4, "", "\n", "utf-8"),
        (5, "z", "", "utf-8"),
    ]
    assert [line[3] for line in read(path, "gbk")][1] == "gbk"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_wide_encodings(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "d.txt"
    text = f"Hello, wide world\r\n{CHINESE}\nthe end of it"
    path.write_bytes(text.encode(encoding))
    given = "utf-32" if encoding == "utf-32" else None
    lines = read(path, given)
    assert [(number, content, end) for number, content, end, _ in lines] == [
        (1, "Hello, wide world", "\r\n"),
        (2, CHINESE, "\n"),
        (3, "the end of it", ""),
    ]
    path.write_bytes(text.encode(encoding)[:-1])
    assert read(path, given)[-1][3] is None


def test_compressed_files(tmp_path: Path) -> None:
    path = tmp_path / "d.txt.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbfa\r\nb"))
    assert read(path) == [(1, "\ufeffa", "\r\n", "utf-8"), (2, "b", "", "utf-8")]
    (file,) = data_files_at(path, ReadConfig())
    assert dict(outward_findings(file)) == {BOM: 1, CRLF: 1}


def test_line_ends_are_counted_across_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(b"ab\r\ncd\r\r\n\n\r\nx\r")
    for chunk in range(1, 15):
        monkeypatch.setattr("eyas.data.outward._CHUNK", chunk)
        (file,) = data_files_at(path, ReadConfig())
        assert dict(outward_findings(file)) == {CRLF: 3}


def test_which_files_there_are(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    with pytest.raises(UserError, match="holds no"):
        data_files_at(tmp_path / "texts", ReadConfig())
    (tmp_path / "texts" / "a.txt").touch()
    assert [file.place for file in data_files_at(tmp_path / "texts", ReadConfig())] == ["a.txt"]
    assert data_files_at(tmp_path / "none.jsonl", ReadConfig()) == []
    (tmp_path / "d.csv").write_bytes(b"\xef\xbb\xbftext\r\na\r\n")
    (table,) = data_files_at(tmp_path / "d.csv", ReadConfig())
    assert list(outward_findings(table)) == []
