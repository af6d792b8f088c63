"""Documents from text files: .jsonl, .txt, a folder of .txt with all its folders.

A .jsonl line is `{"text": …}`, taken as it is, or `{"messages": [{"role": …, "content": …}, …]}`,
rendered with the chat template. A .txt file is one document; its line ends become \\n.
The mistakes of one file, or folder, are reported together, each with its line.
"""

import json
import os
import reprlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from eyas.config import did_you_mean
from eyas.data.template import NAMES, Mask, Message, Span, answer_spans, render
from eyas.errors import UserError

__all__ = ["ACCEPTED", "Document", "Span", "read_documents"]

SHAPES = '{"text": "..."} or {"messages": [{"role": "user", "content": "..."}, ...]}'
ACCEPTED = ".jsonl, .txt, a folder of .txt files, or a binidx pair (.bin and .idx)"

_SHOWN = 5
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Document:
    """A text in spans, and the place it comes from, such as "data.jsonl:17".

    Where the last span is trained, so is the token that ends the document.
    """

    spans: tuple[Span, ...]
    place: str


def read_documents(path: Path, mask: Mask) -> Iterator[Document]:
    """The documents of a file or folder, in order.

    Trained are: with "all" everything, with "answers" what follows `Assistant:`, with "auto" the
    answers of `messages` and the whole of any other text.
    Raises UserError: here where the path is wrong, and for bad content while it is read. After
    the first bad record no more documents come; the error follows once the rest is checked.
    """
    if os.path.isdir(path):
        return _folder(path, mask)
    if not os.path.exists(path):
        raise UserError(f"{path}: no such file or folder; data is {ACCEPTED}{_meant(path)}")
    suffix = path.suffix.lower()
    if suffix not in (".jsonl", ".txt"):
        raise UserError(f"{path}: unknown kind of data {path.suffix!r}; accepted are {ACCEPTED}")
    return _json_lines(path, mask) if suffix == ".jsonl" else _text_files(path, [path], mask)


def _meant(missing: Path) -> str:
    folder = missing.parent
    return did_you_mean(missing.name, os.listdir(folder)) if os.path.isdir(folder) else ""


class _RecordError(Exception):
    """What is wrong with a record, and in which line of it (from 1)."""

    def __init__(self, problem: str, line: int = 1) -> None:
        super().__init__(problem)
        self.line = line


@dataclass
class _Mistakes:
    """The mistakes of one file or folder: the first few of them, and how many there are."""

    source: Path
    unit: str
    shown: list[tuple[str, str, str]] = field(default_factory=list)
    count: int = 0

    def add(self, place: str, label: str, problem: Exception) -> None:
        self.count += 1
        if len(self.shown) < _SHOWN:
            self.shown.append((place, label, str(problem)))

    def error(self) -> UserError:
        if self.count == 1:
            place, _, problem = self.shown[0]
            return UserError(f"{place}: {problem}")
        listed = "; ".join(f"{label}: {problem}" for _, label, problem in self.shown)
        more = f"; and {self.count - _SHOWN} more" if self.count > _SHOWN else ""
        return UserError(f"{self.source}: {self.count} bad {self.unit}: {listed}{more}")


def _json_lines(path: Path, mask: Mask) -> Iterator[Document]:
    mistakes = _Mistakes(path, "lines")
    found = False
    with _open(path) as file:
        for number, start, line in _lines(file):
            if number == 1 and line.startswith(_UTF16):
                raise UserError(f"{path}: is UTF-16; convert it with iconv -f UTF-16 -t UTF-8")
            try:
                spans = _record_spans(_decoded(line, start), mask)
            except _RecordError as bad:
                mistakes.add(f"{path}:{number}", f"line {number}", bad)
                continue
            found = True
            if not mistakes.count:
                yield Document(spans, f"{path.name}:{number}")
    if mistakes.count:
        raise mistakes.error()
    if not found:
        raise UserError(f"{path}: holds no documents; each line must be {SHAPES}")


def _folder(folder: Path, mask: Mask) -> Iterator[Document]:
    # Names that begin with a dot are the system's: macOS puts "._a.txt" beside "a.txt".
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() == ".txt"
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not paths:
        raise UserError(f"{folder}: holds no .txt files; data is {ACCEPTED}")
    return _text_files(folder, paths, mask)


def _text_files(source: Path, paths: Sequence[Path], mask: Mask) -> Iterator[Document]:
    mistakes = _Mistakes(source, "files")
    for path in paths:
        place = path.name if path == source else path.relative_to(source).as_posix()
        with _open(path) as file:
            content = file.read()
        try:
            mark = len(_BOM) if content.startswith(_BOM) else 0
            text = _decoded(content[mark:], mark).replace("\r\n", "\n")
            _check_text(text, "the file")
        except _RecordError as bad:
            mistakes.add(f"{path}:{bad.line}", f"{place}:{bad.line}", bad)
            continue
        if not mistakes.count:
            yield Document(_text_spans(text, mask), place)
    if mistakes.count:
        raise mistakes.error()


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error


def _lines(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """The lines that are not blank: number from 1, offset in bytes, content without BOM and end."""
    start = 0
    for number, line in enumerate(file, start=1):
        mark = len(_BOM) if number == 1 and line.startswith(_BOM) else 0
        if line[mark:].strip():
            yield number, start + mark, line[mark:].rstrip(b"\r\n")
        start += len(line)


def _decoded(data: bytes, start: int) -> str:
    """The text of `data`, which begins at byte `start` of its file."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        encoding = "UTF-16" if data.startswith(_UTF16) else "GB18030"
        raise _RecordError(
            f"is not UTF-8 (byte 0x{data[error.start]:02x} at offset {start + error.start}); "
            f"convert it, for example with iconv -f {encoding} -t UTF-8",
            data.count(b"\n", 0, error.start) + 1,
        ) from error


def _record_spans(line: str, mask: Mask) -> tuple[Span, ...]:
    record = _parsed(line)
    if not isinstance(record, dict):
        raise _RecordError(f"is {_kind(record)}, not an object; each line must be {SHAPES}")
    if "text" in record and "messages" in record:
        raise _RecordError('has both "text" and "messages"; keep one of them')
    if "text" in record:
        return _text_spans(_text(record["text"], '"text"'), mask)
    if "messages" in record:
        spans = render(_messages(record["messages"]))
        return (Span("".join(span.text for span in spans), True),) if mask == "all" else spans
    keys = reprlib.repr(list(record)) if record else "none"
    raise _RecordError(f'has no "text" or "messages" (its keys: {keys}); it must be {SHAPES}')


def _parsed(line: str) -> object:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise _RecordError(
            f"bad JSON ({error.msg} at column {error.colno}); each line must be {SHAPES}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise _RecordError(f"bad JSON (a number or a nesting too large); {SHAPES}") from error


def _text_spans(text: str, mask: Mask) -> tuple[Span, ...]:
    return answer_spans(text) if mask == "answers" else (Span(text, True),)


def _messages(value: object) -> list[Message]:
    """The checked turns. An empty system turn is left out: it means that there is none."""
    if not isinstance(value, list) or not value:
        raise _RecordError(
            f'"messages" is {_kind(value)}, not a list of turns; it must be {SHAPES}'
        )
    turns = [_message(turn, f"message {i}") for i, turn in enumerate(value, start=1)]
    messages = [message for message in turns if message.content]
    if not messages:
        raise _RecordError('"messages" holds nothing but an empty system message; add turns')
    return messages


def _message(turn: object, which: str) -> Message:
    if not isinstance(turn, dict) or not {"role", "content"} <= turn.keys():
        shown = reprlib.repr(list(turn) if isinstance(turn, dict) else turn)
        raise _RecordError(f'{which} has no "role" and "content" (found: {shown}); give both')
    role = turn["role"]
    if not isinstance(role, str) or role not in NAMES:
        raise _RecordError(
            f"{which} has the role {reprlib.repr(role)}; accepted are {', '.join(NAMES)}"
        )
    content = turn["content"]
    if role == "system" and (content is None or content == ""):
        return Message(role, "")
    return Message(role, _text(content, f"{which}'s content"))


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise _RecordError(f"{what} is {_kind(value)}, not a string; make it one")
    _check_text(value, what)
    return value


def _check_text(text: str, what: str) -> None:
    if not text.strip():
        raise _RecordError(f"{what} is empty; remove it or fill it in")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _RecordError(
            f"{what} has half a surrogate pair ({text[error.start]!a}) at character "
            f"{error.start + 1}; write the whole character or remove it"
        ) from error


def _kind(value: object) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return ("a list" if isinstance(value, list) else "an object") if value else "empty"
