"""How each kind of file is copied, and repaired on the way."""

import json
from collections import defaultdict
from typing import TextIO

from eyas.data.lint import BOM, CRLF, NUL, Finding, Kind
from eyas.data.mender import Account, Mender
from eyas.data.mending import mended
from eyas.data.raw_lines import Line, encodings_of, raw_lines
from eyas.data.reading import Bad, ReadConfig
from eyas.data.reading.compression import opened
from eyas.data.reading.data_files import Reader
from eyas.data.reading.json_decoding import decoded
from eyas.data.reading.kinds import HEAD, DataFile, encoding_of_type, is_json_lines
from eyas.data.reading.mistakes import RecordError
from eyas.data.reading.rendering import Rendering

ENCODING = Kind("text that is not UTF-8", "made UTF-8")

_BOM = "\ufeff"
_TABLES = ("parquet", "arrow")
_NO_ENCODING = "is in no encoding that eyas knows; give it with --encoding NAME"


class Copying:
    """Writes the repaired records of files to `copy`."""

    def __init__(self, copy: TextIO, config: ReadConfig, account: Account) -> None:
        self._copy = copy
        self._account = account
        self._given = config.encoding or encoding_of_type(config.data_type)
        self._mender = Mender(config, account)
        self._rendering = Rendering(config)

    def text(self, file: DataFile) -> None:
        """A file that is one document, as text. Raises RecordError where it cannot be read."""
        self._copy.write(self._whole(file))

    def records(self, file: DataFile) -> None:
        """The records of a file of any kind, as JSON lines."""
        if file.kind == "txt":
            try:
                self._dump({"text": self._whole(file)})
            except RecordError as error:
                self._account.reject(file.place, str(error), None)
            return
        encodings = ["utf-8"] if file.kind in _TABLES else encodings_of(file.path, self._given)
        if file.kind in ("json", "jsonl") and _is_lines(file, encodings[0]):
            self._lines(file, encodings)
        else:
            self._others(file, encodings)

    def _whole(self, file: DataFile) -> str:
        parts: list[str] = []
        foreign: dict[str, list[int]] = defaultdict(list)
        for line in raw_lines(file.path, encodings_of(file.path, self._given)):
            if line.encoding is None:
                raise RecordError(f"line {line.number} {_NO_ENCODING}")
            if line.encoding != "utf-8":
                foreign[line.encoding].append(line.number)
            parts += [line.text, line.end]
        text, found = mended("".join(parts), in_turns=True)
        self._rendering.spans({"text": text})
        for name, lines in foreign.items():
            found.insert(0, (lines[0], Finding(ENCODING, 0, f"but {name}", len(lines))))
        for number, finding in found:
            self._account.tell(f"{file.place}:{number}", finding)
        self._account.records += 1
        self._account.changed += bool(found)
        return text

    def _lines(self, file: DataFile, encodings: list[str]) -> None:
        """JSON lines: those without a change as they are."""
        windows = 0
        for line in raw_lines(file.path, encodings):
            windows += line.end == "\r\n"
            place = f"{file.place}:{line.number}"
            self._copy.write(f"{self._line(place, line) or ''}\n")
        if windows:
            self._account.tell(file.place, Finding(CRLF, 0, times=windows))

    def _line(self, place: str, line: Line) -> str | None:
        """The line repaired; None for a blank one and one that is put aside."""
        text, before = line.text, []
        if line.encoding != "utf-8":
            before.append(Finding(ENCODING, 0, f"but {line.encoding}"))
        if text.startswith(_BOM):
            text = text.removeprefix(_BOM)
            before.append(Finding(BOM, 0))
        if "\0" in text:
            before.append(Finding(NUL, 0, times=text.count("\0")))
            text = text.replace("\0", "")
        if line.encoding is None:
            self._account.reject(place, _NO_ENCODING, line.text)
            return None
        if not text.strip():
            return None
        try:
            record = decoded(text)
        except RecordError as error:
            self._account.reject(place, str(error), line.text)
            return None
        repaired = self._mender.record(place, record, before)
        if repaired is None:
            return None
        whole, changed = repaired
        # A line of UTF-16 in a file of something else may keep half of its end.
        return json.dumps(whole, ensure_ascii=False) if changed else text.rstrip("\r")

    def _others(self, file: DataFile, encodings: list[str]) -> None:
        """Records that are no JSON lines: as they are read."""
        encoding = encodings[-1] if encodings[-1] != "utf-8" else None
        if encoding and encoding != self._given:
            self._account.tell(file.place, Finding(ENCODING, 0, f"but {encoding}"))
        reader = Reader(encoding, self._rendering.columns, self._rendering.is_field)
        for item in reader.items(file):
            if isinstance(item, Bad):
                self._account.reject(item.place, item.problem, None)
            elif (repaired := self._mender.record(*item)) is not None:
                self._dump(repaired[0])

    def _dump(self, record: object) -> None:
        self._copy.write(f"{json.dumps(record, ensure_ascii=False)}\n")


def _is_lines(file: DataFile, encoding: str) -> bool:
    with opened(file.path) as content:
        head = content.read(HEAD).decode(encoding, errors="replace").removeprefix(_BOM)
    return is_json_lines(head, "json" if file.kind == "json" else "jsonl")
