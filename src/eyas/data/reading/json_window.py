"""JSON read value by value through a window over the file, so that its size does not matter."""

import json
from io import TextIOWrapper

from eyas.data.reading.encodings import Misfits
from eyas.data.reading.json_decoding import (
    LAX,
    SINGLE_QUOTED,
    STRICT,
    DuplicateKeyError,
    is_single_quoted,
    json_problem,
)
from eyas.data.reading.mistakes import RecordError

_CHUNK = 1 << 20  # characters
_LONGEST_LITERAL = 16  # -Infinity, or the escape of a character
_SPACE = " \t\r\n"
_CUT = "bad JSON: the file ends in the middle of a record; copy or download it again"


class BrokenError(Exception):
    """What is wrong in a line of JSON, after which nothing can be read any more."""

    def __init__(self, problem: str, line: int) -> None:
        super().__init__(problem)
        self.line = line


class JsonWindow:
    """A place in a JSON text, from which it is read onwards. `line`: the place's, from 1."""

    def __init__(self, text: TextIOWrapper, encoding: str) -> None:
        self.line = 1
        self._text, self._misfits = text, Misfits(encoding)
        self._window, self._at, self._counted, self._before = "", 0, 0, 0
        self._done = False

    def peek(self) -> str:
        """The next character that is no space; "" at the end."""
        while True:
            window, at = self._window, self._at
            while at < len(window) and window[at] in _SPACE:
                at += 1
            self._move(at)
            if at < len(window):
                return window[at]
            if not self._more():
                return ""

    def take(self, *wanted: str) -> str:
        """The next character, which must be one of these. Raises BrokenError."""
        found = self.peek()
        if found and found in wanted:
            self._move(self._at + 1)
            return found
        if not found:
            raise BrokenError(_CUT, self.line)
        raise self._bad(f"{found!r} where {' or '.join(map(repr, wanted))} is due")

    def value(self) -> object:
        """The next value, whole.

        Raises BrokenError, and RecordError for a value that cannot be used, after which one can
        go on.
        """
        if not self.peek():
            raise BrokenError(_CUT, self.line)
        while True:
            try:
                value, end = STRICT.raw_decode(self._window, self._at)
                problem = None
            except DuplicateKeyError as error:
                value, problem = None, str(error)
                _, end = LAX.raw_decode(self._window, self._at)
            except json.JSONDecodeError as error:
                if self._may_go_on(error) and self._more():
                    continue
                raise self._wrong(error) from error
            except (ValueError, RecursionError) as error:
                raise BrokenError(json_problem(error, ""), self.line) from error
            if isinstance(value, (int, float)) and self._is_near_end(end) and self._more():
                continue  # the number may go on
            return self._taken(end, value, problem)

    def check_end(self) -> None:
        """Raises BrokenError where something follows."""
        if found := self.peek():
            raise self._bad(f"{found!r} follows the end of the array")

    def _taken(self, end: int, value: object, problem: str | None) -> object:
        start = self._at
        self._move(end)
        self._misfits.check(self._window, start, end)
        if problem is not None:
            raise RecordError(problem)
        return value

    def _may_go_on(self, error: json.JSONDecodeError) -> bool:
        """Whether what the decoder refused may only be cut off by the end of the window."""
        cut = error.msg.startswith("Unterminated string")
        return cut or self._is_near_end(error.pos)

    def _is_near_end(self, at: int) -> bool:
        return at + _LONGEST_LITERAL > len(self._window)

    def _more(self) -> bool:
        """Reads on: as much again as there is, so that a long value is not decoded too often."""
        if self._done:
            return False
        rest = self._window[self._at :]
        chunk = self._text.read(max(_CHUNK, len(rest)))
        if not chunk:
            self._done = True
            return False
        self._before += self._at
        self._window, self._at, self._counted = rest + chunk, 0, 0
        return True

    def _move(self, at: int) -> None:
        self._at = at
        self.line += self._window.count("\n", self._counted, at)
        self._counted = at

    def _wrong(self, error: json.JSONDecodeError) -> BrokenError:
        """Stands at the error, or where the value begins that is cut off."""
        try:
            self._misfits.check(self._window, self._at, error.pos + 1)
        except RecordError as misfit:
            return BrokenError(str(misfit), self.line)
        if error.msg.startswith("Unterminated") or error.pos >= len(self._window.rstrip()):
            return BrokenError(_CUT, self.line)
        if is_single_quoted(self._window[self._at : error.pos + 1]):
            return BrokenError(SINGLE_QUOTED, self.line)
        self._move(error.pos)
        return self._bad(error.msg)

    def _bad(self, problem: str) -> BrokenError:
        where = f"{problem} at character {self._before + self._at + 1:,}"
        return BrokenError(f"bad JSON ({where}); mend it there", self.line)
