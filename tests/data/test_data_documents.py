"""Reading text data, good and bad."""

import json
from pathlib import Path
from typing import Any

import pytest

from eyas.data.documents import Document, Span, read_documents
from eyas.data.template import Mask
from eyas.errors import UserError

CHAT = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
CHAT_SPANS = (Span("User: a\n\nAssistant:", False), Span(" b", True))


def read(path: Path, mask: Mask = "auto") -> list[Document]:
    return list(read_documents(path, mask))


def jsonl(tmp_path: Path, *records: Any) -> Path:
    """A .jsonl file; strings and bytes are lines as they are."""
    path = tmp_path / "data.jsonl"
    lines = [
        record if isinstance(record, bytes)
        else (record if isinstance(record, str) else json.dumps(record)).encode()
        for record in records
    ]  # fmt: skip
    path.write_bytes(b"\n".join(lines))
    return path


def problem(path: Path, mask: Mask = "auto") -> str:
    """The error that reading gives: always one line."""
    with pytest.raises(UserError) as caught:
        read(path, mask)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(path.parent) + "/", "")


def test_text_and_messages(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"text": " x\r\n\r\n\ny ", "id": 3}, CHAT, {"text": "Assistant: c"})
    assert read(path) == [
        Document((Span(" x\r\n\r\n\ny ", True),), "data.jsonl:1"),
        Document(CHAT_SPANS, "data.jsonl:2"),
        Document((Span("Assistant: c", True),), "data.jsonl:3"),
    ]


def test_masks(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"text": "x\n\nAssistant: y"}, CHAT)
    whole = [(Span("x\n\nAssistant: y", True),), (Span("User: a\n\nAssistant: b", True),)]
    answers = [(Span("x\n\nAssistant:", False), Span(" y", True)), CHAT_SPANS]
    assert [document.spans for document in read(path, "all")] == whole
    assert [document.spans for document in read(path, "answers")] == answers


def test_blank_lines_byte_order_mark_and_crlf(tmp_path: Path) -> None:
    path = jsonl(tmp_path, b'\xef\xbb\xbf{"text": "a"}\r', b"", b" \t\r", b'{"text": "b"}\r', b"")
    assert [(document.spans[0].text, document.place) for document in read(path)] == [
        ("a", "data.jsonl:1"),
        ("b", "data.jsonl:4"),
    ]


def test_characters_that_only_look_like_line_ends(tmp_path: Path) -> None:
    text = "a\u2028b\u2029c\x85d\x1ee"
    path = jsonl(tmp_path, json.dumps({"text": text}, ensure_ascii=False))
    assert read(path)[0].spans[0].text == text


def test_surrogate_pairs_and_nul_are_characters(tmp_path: Path) -> None:
    path = jsonl(tmp_path, r'{"text": "\ud83d\ude00\u0000"}')
    assert read(path)[0].spans[0].text == "😀\0"


def test_an_empty_system_message_is_left_out(tmp_path: Path) -> None:
    for empty in ("", None):
        turns = [{"role": "system", "content": empty}, *CHAT["messages"]]
        assert read(jsonl(tmp_path, {"messages": turns}))[0].spans == CHAT_SPANS


def test_a_text_file_is_one_document(tmp_path: Path) -> None:
    path = tmp_path / "Book.TXT"
    path.write_bytes(b"\xef\xbb\xbfa\r\n\r\nb\r\n")
    assert read(path) == [Document((Span("a\n\nb\n", True),), "Book.TXT")]


def test_a_text_file_with_answers(tmp_path: Path) -> None:
    path = tmp_path / "chat.txt"
    path.write_bytes(b"User: a\r\n\r\nAssistant: b\r\n\r\nUser: c")
    spans = (Span("User: a\n\nAssistant:", False), Span(" b\n\n", True), Span("User: c", False))
    assert read(path, "answers")[0].spans == spans


def test_a_folder_of_text_files_is_read_by_name(tmp_path: Path) -> None:
    for name in ("b.txt", "a.TXT", "10.txt", "2.txt", "note.md"):
        (tmp_path / name).write_text(name)
    (tmp_path / "._b.txt").write_bytes(b"\0\xff")
    (tmp_path / "folder.txt").mkdir()
    assert [document.place for document in read(tmp_path)] == ["10.txt", "2.txt", "a.TXT", "b.txt"]


def test_folders_in_a_folder_are_read_too(tmp_path: Path) -> None:
    for name in ("b.txt", "a/b.txt", "a/c/d.txt", "z/b.txt", ".git/x.txt", "a/.x/y.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    expected = ["a/b.txt", "a/c/d.txt", "b.txt", "z/b.txt"]
    documents = read(tmp_path)
    assert [document.place for document in documents] == expected
    assert [document.spans[0].text for document in documents] == expected
    (tmp_path / "z" / "b.txt").write_bytes(b"\xff")
    (tmp_path / "b.txt").write_bytes(b"")
    assert "2 bad files: b.txt:1: the file is empty" in problem(tmp_path)
    assert "; z/b.txt:1: is not UTF-8" in problem(tmp_path)


def test_paths_that_are_no_data(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.jsonl: no such file.*\.txt, a folder of"):
        read_documents(tmp_path / "none.jsonl", "auto")
    (tmp_path / "data.csv").write_text("a,b")
    with pytest.raises(UserError, match=r"did you mean .data\.csv.\?"):
        read_documents(tmp_path / "data.jsv", "auto")
    with pytest.raises(UserError, match=r"unknown kind of data '\.csv'.*\.jsonl, \.txt, .*binidx"):
        read_documents(tmp_path / "data.csv", "auto")
    with pytest.raises(UserError, match=r"holds no \.txt files"):
        read_documents(tmp_path, "auto")
    (tmp_path / "plain").write_text("a")
    with pytest.raises(UserError, match="unknown kind of data ''"):
        read_documents(tmp_path / "plain", "auto")
    with pytest.raises(UserError, match="no such file"):
        read_documents(tmp_path / ("x" * 5000), "auto")


@pytest.mark.parametrize("content", [b"", b"\n", b" \r\n\r\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_empty_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(content)
    assert problem(path).startswith('data.jsonl: holds no documents; each line must be {"text"')
    path = tmp_path / "data.txt"
    path.write_bytes(content)
    assert problem(path) == "data.txt:1: the file is empty; remove it or fill it in"


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    gbk = '{"text": "你好"}'.encode("gb18030")
    path = jsonl(tmp_path, b"\xef\xbb\xbf" + b'{"text": "a"}', gbk)
    assert problem(path) == (
        "data.jsonl:2: is not UTF-8 (byte 0xc4 at offset 27); "
        "convert it, for example with iconv -f GB18030 -t UTF-8"
    )
    assert path.read_bytes()[27] == 0xC4
    path = tmp_path / "data.txt"
    path.write_bytes(b"\xef\xbb\xbfa\nb\n\xe4\xbd")
    assert problem(path).startswith("data.txt:3: is not UTF-8 (byte 0xe4 at offset 7)")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_utf16(tmp_path: Path, encoding: str) -> None:
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    path = tmp_path / "data.jsonl"
    path.write_bytes((mark + '{"text": "a"}\n' * 9).encode(encoding))
    assert problem(path) == "data.jsonl: is UTF-16; convert it with iconv -f UTF-16 -t UTF-8"
    path = tmp_path / "data.txt"
    path.write_bytes((mark + "text").encode(encoding))
    assert problem(path).startswith("data.txt:1: is not UTF-8 (byte 0xf")
    assert problem(path).endswith("with iconv -f UTF-16 -t UTF-8")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"text": "a"', "bad JSON (Expecting ',' delimiter at column 13); each line must be"),
        ("{'text': 'a'}", "bad JSON (Expecting property name"),
        ('{"text": "a"} {"text": "b"}', "bad JSON (Extra data at column 15)"),
        ('{"text": "a\tb"}', "bad JSON (Invalid control character at"),
        ("[" * 200_000, "bad JSON ("),
        ("1" * 50_000, "bad JSON ("),
        ('["a"]', 'is a list, not an object; each line must be {"text": "..."} or {"messages"'),
        ('"a"', "is a string, not an object"),
        ("null", "is null, not an object"),
        ("7", "is a number, not an object"),
        ("{}", 'has no "text" or "messages" (its keys: none)'),
        ('{"Text": "a", "x\\ny": 1}', "(its keys: ['Text', 'x\\ny']); it must be {\"text\""),
        ('{"text": "a", "messages": []}', 'has both "text" and "messages"'),
        ('{"text": null}', '"text" is null, not a string'),
        ('{"text": true}', '"text" is true, not a string'),
        ('{"text": ["a"]}', '"text" is a list, not a string'),
        ('{"text": ""}', '"text" is empty'),
        ('{"text": " \\n"}', '"text" is empty'),
        (r'{"text": "ab\ud83d"}', "\"text\" has half a surrogate pair ('\\ud83d') at character 3"),
        ('{"messages": "a"}', '"messages" is a string, not a list of turns'),
        ('{"messages": []}', '"messages" is empty, not a list of turns'),
        ('{"messages": ["a"]}', "message 1 has no \"role\" and \"content\" (found: 'a')"),
        ('{"messages": [{"role": "user", "text": "a"}]}', "(found: ['role', 'text']); give both"),
        (
            '{"messages": [{"role": "user", "content": "a"}, {"role": "tool", "content": "a"}]}',
            "message 2 has the role 'tool'; accepted are system, user, assistant",
        ),
        ('{"messages": [{"role": ["user"], "content": "a"}]}', "message 1 has the role ['user']"),
        ('{"messages": [{"role": "user", "content": ""}]}', "message 1's content is empty"),
        ('{"messages": [{"role": "assistant", "content": null}]}', "content is null, not a"),
        ('{"messages": [{"role": "user", "content": [{"type": "text"}]}]}', "is a list, not a"),
        (r'{"messages": [{"role": "user", "content": "\udc00"}]}', "message 1's content has half"),
        ('{"messages": [{"role": "system", "content": ""}]}', "nothing but an empty system"),
    ],
)  # fmt: skip
def test_bad_records(tmp_path: Path, line: str, expected: str) -> None:
    path = jsonl(tmp_path, {"text": "good"}, line, {"text": "good"})
    message = problem(path)
    assert message.startswith("data.jsonl:2: ")
    assert expected in message
    assert len(message) < 400


def test_bad_lines_are_reported_together(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"text": "a"}, "{", {"text": "b"}, {"x": 1}, b"\xff")
    message = problem(path)
    assert message.startswith("data.jsonl: 3 bad lines: line 2: bad JSON")
    assert "; line 4: has no" in message
    assert "; line 5: is not UTF-8" in message
    many = problem(jsonl(tmp_path, *["{"] * 12))
    assert many.startswith("data.jsonl: 12 bad lines: line 1: ")
    assert many.endswith("; and 7 more")
    assert "line 5" in many
    assert "line 6" not in many


def test_nothing_comes_after_the_first_bad_line(tmp_path: Path) -> None:
    documents = read_documents(jsonl(tmp_path, {"text": "a"}, "{", {"text": "b"}), "auto")
    assert next(documents).place == "data.jsonl:1"
    with pytest.raises(UserError, match=":2: bad JSON"):
        next(documents)


def test_bad_files_of_a_folder_are_reported_together(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("good")
    (folder / "b.txt").write_bytes(b"x\n\xff")
    assert problem(folder).startswith("texts/b.txt:2: is not UTF-8")
    (folder / "c.txt").write_text("\n")
    message = problem(folder)
    assert message.startswith("texts: 2 bad files: b.txt:2: is not UTF-8")
    assert message.endswith("; c.txt:1: the file is empty; remove it or fill it in")
