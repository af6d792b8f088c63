"""Bytes as text: which encoding, and what to say where it is another one."""

import codecs
import io
import re
from collections.abc import Iterator

from eyas.data.guessing import guess_encoding
from eyas.data.reading.mistakes import RecordError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_FAMILY = 5  # "utf-8", "utf-1", "utf-3": how an encoding's name begins, whatever its byte order
_ESCAPED = re.compile("[\udc80-\udcff]")


def encoding_of(head: bytes, given: str | None) -> str:
    """The encoding of a file that begins with `head`: as its byte order mark says, or as given."""
    marked = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    if given is None:
        return marked or "utf-8"
    name = codecs.lookup(given).name
    if marked and name[:_FAMILY] == marked[:_FAMILY]:
        return marked
    # Without a mark Python takes little-endian for it in some places, and refuses it in others.
    return f"{name}-le" if name in ("utf-16", "utf-32") else given


def text_of(file: io.BufferedReader, encoding: str, newline: str) -> io.TextIOWrapper:
    """A file as text; bytes that do not fit become single surrogates, see `Misfits`."""
    errors = "surrogatepass" if _is_wide(encoding) else "surrogateescape"
    return io.TextIOWrapper(file, encoding, errors, newline)


class Misfits:
    """Says what is wrong where a file is not in its encoding; which it is, is guessed once."""

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding.removesuffix("-sig")
        self._advice = ""

    def problem(self, data: bytes, where: str) -> str:
        if not self._advice:
            likely = guess_encoding(data)
            known = likely and codecs.lookup(likely).name
            self._advice = (
                f" but probably {known}; give --encoding {known}"
                if known and known != codecs.lookup(self.encoding).name
                else "; give the encoding that it is in with --encoding NAME"
            )
        return f"is not {self.encoding.upper()} ({where}){self._advice}"

    def check(self, text: str, start: int = 0, end: int | None = None) -> None:
        """Raises RecordError where a text of `text_of` holds a byte that did not fit."""
        if text.isascii() or _is_wide(self.encoding):
            return
        if found := _ESCAPED.search(text, start, len(text) if end is None else end):
            data = text[start:end].encode(self.encoding, "surrogateescape")
            raise RecordError(self.problem(data, f"byte 0x{ord(found[0]) - 0xDC00:02x}"))


def numbered_lines(
    file: io.BufferedReader, encoding: str
) -> Iterator[tuple[int, str | RecordError]]:
    """The lines of a file from 1, with their ends; in place of one that does not fit, an error."""
    if _is_wide(encoding):
        yield from _wide_lines(file, encoding)
        return
    misfits = Misfits(encoding)
    start = 0
    for number, line in enumerate(file, start=1):
        try:
            content = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            yield number, content.decode(misfits.encoding)
        except UnicodeDecodeError as error:
            at = error.start + len(line) - len(content)
            where = f"byte 0x{line[at]:02x} at offset {start + at}"
            yield number, RecordError(misfits.problem(line, where))
        start += len(line)


def _is_wide(encoding: str) -> bool:
    """Whether a line end is more than the one byte."""
    return codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))


def _wide_lines(file: io.BufferedReader, encoding: str) -> Iterator[tuple[int, str | RecordError]]:
    number = 0
    text = text_of(file, encoding, "\n")
    try:
        for number, line in enumerate(text, start=1):
            yield number, line
    except UnicodeDecodeError as error:
        problem = f"is not {encoding.upper()} ({error.reason}); copy or download the file again"
        yield number + 1, RecordError(problem)
    finally:
        text.detach()  # the file is closed by who opened it
