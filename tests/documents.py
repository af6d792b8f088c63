"""Data files made and read, for the tests of reading."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from eyas.data.reading import Bad, Document, ReadConfig, Span, read_documents, scan
from eyas.errors import UserError

AS_IT_IS = ReadConfig()

CHAT = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
CHAT_SPANS = (Span("User: a\n\nAssistant:", False), Span(" b", True))


def lines(*records: object) -> bytes:
    """Records as the lines of a .jsonl file; bytes are a line as they are."""
    return b"\n".join(
        record if isinstance(record, bytes) else json.dumps(record, ensure_ascii=False).encode()
        for record in records
    )


def written(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def jsonl(folder: Path, *records: object) -> Path:
    return written(folder / "data.jsonl", lines(*records))


def read(path: Path, config: ReadConfig = AS_IT_IS) -> list[Document]:
    return list(read_documents(path, config))


def texts(path: Path, config: ReadConfig = AS_IT_IS) -> list[str]:
    return ["".join(span.text for span in each.spans) for each in read(path, config)]


def scanned(path: Path, config: ReadConfig = AS_IT_IS) -> dict[str, str]:
    """All that is found, by place: the text of a document, or the problem of a bad record."""
    return {
        each.place: each.problem
        if isinstance(each, Bad)
        else "".join(span.text for span in each.spans)
        for each in scan(path, config)
    }


def problem(path: Path, config: ReadConfig = AS_IT_IS) -> str:
    """The error that reading gives, always one line, without the folder it is in."""
    with pytest.raises(UserError) as caught:
        read(path, config)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(f"{path.parent}/", "")


def spans(record: Mapping[str, object], folder: Path, config: ReadConfig = AS_IT_IS) -> object:
    """The spans of the only record of a file."""
    (document,) = read(jsonl(folder, record), config)
    return document.spans
