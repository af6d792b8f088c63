"""The lines of a text file that may be in more than one encoding, as broken files are."""

import codecs
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from eyas.data.guessing import guess_encoding
from eyas.data.reading.compression import opened
from eyas.data.reading.encodings import encoding_of

_ENOUGH = 1 << 16
_SAMPLE = 50
_HEAD = 1 << 12
_RARE = 50


class Line(NamedTuple):
    """A line and its end. `encoding`: the one that fits; None where none of those tried does.

    The text of a line that fits none has escapes for what does not fit.
    """

    number: int
    text: str
    end: str
    encoding: str | None


def encodings_of(path: Path, given: str | None) -> list[str]:
    """The encoding given or marked, or else UTF-8; then the one of the lines that do not fit it.

    Raises OSError, and DamagedError for compressed files.
    """
    with opened(path) as file:
        head = file.read(_HEAD)
        encoding = encoding_of(head, given).removesuffix("-sig")
        if encoding == "utf-8" and head.count(0) * _RARE > len(head):
            encoding = guess_encoding(head) or encoding
    if _is_wide(encoding):
        return [encoding]
    with opened(path) as file:
        misfits = _misfits(file, encoding)
    other = guess_encoding(b"".join(misfits)) or _most_likely(misfits)
    return [encoding, other] if other else [encoding]


def raw_lines(path: Path, encodings: Sequence[str]) -> Iterator[Line]:
    """The lines of a file from 1, each in the first encoding that fits it.

    A byte order mark stays at the beginning of the first. Raises as `encodings_of`.
    """
    with opened(path) as file:
        if _is_wide(encodings[0]):
            yield from _wide_lines(file, encodings[0])
            return
        for number, line in enumerate(file, start=1):
            content = line.rstrip(b"\r\n")
            yield _line(number, content, line[len(content) :].decode(), encodings)


def _line(number: int, content: bytes, end: str, encodings: Sequence[str]) -> Line:
    for encoding in encodings:
        with suppress(UnicodeDecodeError):
            return Line(number, content.decode(encoding), end, encoding)
    return Line(number, content.decode("ascii", "backslashreplace"), end, None)


def _wide_lines(file: BinaryIO, encoding: str) -> Iterator[Line]:
    number = 0
    text = io.TextIOWrapper(file, encoding, "surrogatepass", "\n")
    try:
        for number, line in enumerate(text, start=1):
            content = line.rstrip("\r\n")
            yield Line(number, content, line[len(content) :], encoding)
    except UnicodeDecodeError as error:
        yield Line(number + 1, f"(the rest of the file: {error.reason})", "", None)
    finally:
        text.detach()  # the file is closed by who opened it


def _misfits(file: BinaryIO, encoding: str) -> list[bytes]:
    """The first lines that are not in that encoding, enough to guess theirs."""
    found: list[bytes] = []
    size = 0
    for line in file:
        try:
            line.decode(encoding)
        except UnicodeDecodeError:
            found.append(line)
            size += len(line)
            if size > _ENOUGH:
                break
    return found


def _most_likely(lines: list[bytes]) -> str | None:
    """The encoding of most lines, where some of them have none."""
    guessed = Counter(filter(None, map(guess_encoding, lines[:_SAMPLE])))
    return next((name for name, _ in guessed.most_common(1)), None)


def _is_wide(encoding: str) -> bool:
    """Whether a line end is more than the one byte."""
    return codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
