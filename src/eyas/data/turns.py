"""Where the turns of a conversation begin, also where they are not written as they should be."""

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from functools import cache
from typing import NamedTuple

_ROLES = ("System", "User", "Assistant")
_HEAD = r"[ \t]{0,3}([A-Za-z]{3,12})[ \t]?[:：﹕]"
_FIRST, _LATER = re.compile(_HEAD), re.compile(r"\n" + _HEAD)
_NEAR = 0.8
# Words that stand before a colon in good texts, though a letter or two make a role of them.
_WORDS = {"use", "used", "uses", "users", "usher", "unser", "system", "systems", "stem"}
_WORDS |= {"assist", "assists", "assisted", "assisting", "assistance", "assistants"}
_TOOL = re.compile(r"\s*Function output:")


class Turn(NamedTuple):
    """A turn: its head text[start:body], such as `User:`, and all up to the next turn's.

    `apart`: whether it begins the text or follows a blank line, as the template has it.
    """

    start: int
    body: int
    role: str
    head: str
    apart: bool

    @property
    def misspelled(self) -> bool:
        return self.head != f"{self.role}:"

    @property
    def named(self) -> bool:
        """Whether the name itself is right, whatever colon and blanks are about it."""
        return self.head.strip().startswith(self.role)


def turns(text: str) -> list[Turn]:
    """The turns of a conversation, in order; none where the text is none.

    Not every line with a colon is a turn. Misspelled ones count after a blank line, and after a
    single line end where the text has no well written turn of that role; none counts within a
    block of code, but for well written ones after a blank line: the template takes these.
    """
    candidates = list(_candidates(text))
    if not candidates:
        return []
    good = {turn.role for turn in candidates if turn.apart and not turn.misspelled}
    found: list[Turn] = []
    for turn in candidates:
        if turn.apart and not turn.misspelled:
            found.append(turn)
        elif turn.misspelled and not turn.apart and turn.role in good:
            continue
        elif text.count("```", found[-1].body if found else 0, turn.start) % 2 == 0:
            found.append(turn)
    return found if found and _is_conversation(text, found, good) else []


def bodies(text: str, found: Sequence[Turn]) -> Iterator[tuple[Turn, str]]:
    """Each turn with what follows its head."""
    ends = [*(turn.start for turn in found[1:]), *([len(text)] if found else [])]
    for turn, end in zip(found, ends, strict=True):
        yield turn, text[turn.body : end]


def is_tool_output(body: str) -> bool:
    """Whether a User turn is what a tool gave back, of which several may follow one another."""
    return bool(_TOOL.match(body))


def _candidates(text: str) -> Iterator[Turn]:
    first = _FIRST.match(text)
    if first and (role := _role(first[1])):
        yield Turn(0, first.end(), role, first[0], True)
    for later in _LATER.finditer(text):
        if role := _role(later[1]):
            start = later.start() + 1
            apart = text.endswith(("\n\n", "\n\r\n"), max(start - 3, 0), start)
            yield Turn(start, later.end(), role, later[0][1:], apart)


def _is_conversation(text: str, found: Sequence[Turn], good: set[str]) -> bool:
    """Whether there are two that talk, one of them well written, or the text begins as a talk."""
    roles = {turn.role for turn in found}
    if {"User", "Assistant"} <= roles and good - {"System"}:
        return True
    first = found[0]
    if text[: first.start].strip():
        return False
    if first.role != "System" and first.named:
        return True
    return len(roles) > 1 and ("Assistant" in roles or roles == good)


@cache
def _role(name: str) -> str | None:
    """The role that a name is, or is meant to be."""
    lower = name.lower()
    for role in _ROLES:
        if lower == (right := role.lower()):
            return role
        if lower in _WORDS or lower[0] != right[0]:
            continue
        near = SequenceMatcher(None, lower, right).ratio() >= _NEAR
        if near or sorted(lower) == sorted(right):
            return role
    return None
