"""What is probably wrong with training data: told with its place, never silently mended.

The checks of a text cost little beside its tokenization, so that a `Linter` can watch documents
on their way there.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from eyas.data.mojibake import mojibake
from eyas.data.reading import Bad, Document
from eyas.data.turns import Turn, bodies, is_tool_output, turns

R = TypeVar("R", bound=Document | Bad)

NEAR_EMPTY_CHARACTERS = 10

_SHOWN = 5
_EXCERPT = 30
_NUMBERED = re.compile(r"[: ]\d+\Z")
_BLANK_LINE = re.compile(r"\n\r?\n")


@dataclass(frozen=True)
class Kind:
    """One thing that can be wrong. `repair`: what a repaired copy has done to it; "": nothing."""

    label: str
    repair: str = ""


NOT_APART = Kind("no blank line before a turn", "put in")
BLANK_LINE = Kind("a blank line inside a turn, where the model will stop", "made a line end")
ROLE = Kind("a misspelled role (User:, Assistant:, System: are right)", "spelled right")
NO_ASSISTANT = Kind("a User turn and no Assistant turn")
TWO_USERS = Kind("two User turns in a row")
MOJIBAKE = Kind("mojibake, text decoded with a wrong encoding", "decoded as it was meant")
LOST = Kind("characters lost in a wrong decoding (U+FFFD, 锟斤拷)")
BOM = Kind("a byte order mark", "removed")
CRLF = Kind("line ends of Windows (CRLF)", "made \\n")
NUL = Kind("a NUL character", "removed")
NEAR_EMPTY = Kind(f"nearly empty, less than {NEAR_EMPTY_CHARACTERS} characters")
UNREADABLE = Kind("cannot be read", "repaired, or put aside")

_CHARACTERS = {"\ufffd": LOST, "锟斤拷": LOST, "\ufeff": BOM, "\r\n": CRLF, "\0": NUL}


@dataclass(frozen=True)
class Finding:
    """Something wrong, and at which character of the text. `shown`: what is there."""

    kind: Kind
    position: int
    shown: str = ""
    times: int = 1


@dataclass
class Found:
    """All findings of a kind: how many, at how many places, and the first few of these."""

    count: int = 0
    places: int = 0
    first: list[tuple[str, str]] = field(default_factory=list)

    @property
    def full(self) -> bool:
        return len(self.first) >= _SHOWN


class Linter:
    """Collects what is wrong with the records that it is shown.

    `rendered`: texts of several spans come from lists of messages and not from a text that holds
    turns, as with the mask auto. What looks like a turn within a message is none.
    """

    def __init__(self, rendered: bool = True) -> None:
        self.documents = 0
        self.characters = 0
        self.found: dict[Kind, Found] = {}
        self._rendered = rendered

    def watching(self, records: Iterable[R]) -> Iterator[R]:
        """The same records, each looked at on its way."""
        for record in records:
            self.look(record)
            yield record

    def look(self, record: Document | Bad) -> None:
        """Counts a record, and what is probably wrong with it."""
        if isinstance(record, Bad):
            self.add(UNREADABLE, record.place, record.problem)
            return
        text = "".join(span.text for span in record.spans)
        self.documents += 1
        self.characters += len(text)
        rendered = self._rendered and len(record.spans) > 1
        for finding in findings(text, rendered):
            found = self.found.get(finding.kind)
            # A line is counted from the beginning of the text: only where it will be shown.
            full = found is not None and found.full
            place = "" if full else place_in(record.place, text, finding.position)
            self.add(finding.kind, place, finding.shown, finding.times)

    def add(self, kind: Kind, place: str, shown: str = "", times: int = 1) -> None:
        """One more of a kind, such as what was seen in the file itself."""
        found = self.found.setdefault(kind, Found())
        found.count += times
        found.places += 1
        if not found.full:
            found.first.append((place, shown if times == 1 else f"{times:,} times"))


def findings(text: str, rendered: bool = False) -> Iterator[Finding]:
    """What is probably wrong with a text; `rendered`: it was made of messages."""
    if len(text) < 4 * NEAR_EMPTY_CHARACTERS and len(text.strip()) < NEAR_EMPTY_CHARACTERS:
        yield Finding(NEAR_EMPTY, 0, repr(text))
    for character, kind in _CHARACTERS.items():
        if character in text:
            yield Finding(kind, text.index(character), times=text.count(character))
    for start, end, _ in mojibake(text):
        yield Finding(MOJIBAKE, start, excerpt(text[start:end]))
    found = turns(text)
    if rendered:
        found = [turn for turn in found if turn.apart and not turn.misspelled]
    yield from _turn_findings(text, found)


def place_in(place: str, text: str, position: int) -> str:
    """The place of a character: in a file that is one document its line, else the record."""
    return place if _NUMBERED.search(place) else f"{place}:{text.count(chr(10), 0, position) + 1}"


def excerpt(text: str) -> str:
    """The beginning of a text, on one line, in quotes."""
    text = text[: 4 * _EXCERPT].strip()
    return repr(text if len(text) <= _EXCERPT else text[: _EXCERPT - 1] + "…")


def _turn_findings(text: str, found: list[Turn]) -> Iterator[Finding]:
    before = ""
    for turn, body in bodies(text, found):
        if not turn.apart:
            yield Finding(NOT_APART, turn.start, excerpt(turn.head + body))
        if turn.misspelled:
            yield Finding(ROLE, turn.start, repr(turn.head))
        if blank := _BLANK_LINE.search(body.rstrip()):
            yield Finding(BLANK_LINE, turn.body + blank.start(), excerpt(body[blank.end() :]))
        if before == turn.role == "User" and not is_tool_output(body):
            yield Finding(TWO_USERS, turn.start, excerpt(turn.head + body))
        before = turn.role
    roles = {turn.role for turn in found}
    if "User" in roles and "Assistant" not in roles:
        yield Finding(NO_ASSISTANT, found[0].start, excerpt(text[found[0].start :]))
