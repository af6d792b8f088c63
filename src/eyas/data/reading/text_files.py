"""Text files: each is one document."""

from collections.abc import Iterator
from io import BufferedReader

from eyas.data.reading.document import Bad
from eyas.data.reading.encodings import Misfits
from eyas.data.reading.record import Item


def text_file(file: BufferedReader, place: str, encoding: str) -> Iterator[Item]:
    """The file's text; its line ends become \\n."""
    content = file.read()
    try:
        text = content.decode(encoding).removeprefix("\ufeff").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        begin, end = content.rfind(b"\n", 0, error.start) + 1, content.find(b"\n", error.start)
        where = f"byte 0x{content[error.start]:02x} at offset {error.start}"
        around = content[begin : end if end >= 0 else None]
        yield Bad(f"{place}:{line}", Misfits(encoding).problem(around, where))
        return
    if text.strip():
        yield place, {"text": text}
    else:
        yield Bad(f"{place}:1", "the file is empty; remove it or fill it in", empty=True)
