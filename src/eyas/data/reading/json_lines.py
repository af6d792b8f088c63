"""JSON Lines: a record a line."""

from collections.abc import Iterator
from io import BufferedReader

from eyas.data.reading.document import Bad
from eyas.data.reading.encodings import numbered_lines
from eyas.data.reading.json_decoding import STRICT, json_problem
from eyas.data.reading.record import Item


def json_lines(file: BufferedReader, place: str, encoding: str) -> Iterator[Item]:
    """The records of the lines that are not blank."""
    decode = STRICT.decode
    for number, line in numbered_lines(file, encoding):
        if not isinstance(line, str):
            yield Bad(f"{place}:{number}", str(line))
        elif line and not line.isspace():
            try:
                yield f"{place}:{number}", decode(line)
            except (ValueError, RecursionError) as error:
                yield Bad(f"{place}:{number}", _problem(error, line))


def _problem(error: Exception, line: str) -> str:
    if not line.endswith("\n") and not line.rstrip().endswith("}"):
        return "bad JSON: the file ends in the middle of a record; copy or download it again"
    return json_problem(error, line)
