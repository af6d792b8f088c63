"""A text as it was probably meant: what `lint` finds and calls repaired, repaired."""

import re
from collections.abc import Iterator

from eyas.data.lint import BLANK_LINE, BOM, CRLF, MOJIBAKE, NOT_APART, NUL, ROLE, Finding, Kind
from eyas.data.lint import findings as all_findings
from eyas.data.mojibake import demojibaked
from eyas.data.turns import bodies, turns

SURROGATE = Kind("half a surrogate pair", "removed")

_IN_CHARACTERS = {BOM, CRLF, NUL, MOJIBAKE}
_IN_TURNS = {NOT_APART, ROLE, BLANK_LINE}
_REPLACED = {"\0": "", "\ufeff": "", "\r\n": "\n"}
_SURROGATE = re.compile("[\ud800-\udfff]")
_BLANK_LINES = re.compile(r"\n(?:\r?\n)+")


def mended(text: str, in_turns: bool) -> tuple[str, list[tuple[int, Finding]]]:
    """The text repaired, and what was wrong with it, each with its line (from 1).

    in_turns: whether the text itself holds the turns of a conversation, and is not one message.
    """
    whole, found = _without_surrogates(text)
    while True:
        before = whole
        found += _located(whole, _IN_CHARACTERS)
        for wrong, right in _REPLACED.items():
            whole = whole.replace(wrong, right)
        whole = demojibaked(whole)
        if in_turns:
            found += _located(whole, _IN_TURNS)
            whole = _with_good_turns(whole)
        if whole == before:
            return whole, found


def _without_surrogates(text: str) -> tuple[str, list[tuple[int, Finding]]]:
    """Two halves that follow one another become the character that they are; others go."""
    halves = list(_SURROGATE.finditer(text))
    if not halves:
        return text, []
    paired = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    found = [
        (paired.count("\n", 0, half.start()) + 1, Finding(SURROGATE, half.start(), ascii(half[0])))
        for half in _SURROGATE.finditer(paired)
    ]
    return _SURROGATE.sub("", paired), found


def _located(text: str, kinds: set[Kind]) -> Iterator[tuple[int, Finding]]:
    """The findings of some kinds with their lines, which are counted once through the text."""
    line, done = 1, 0
    found = (finding for finding in all_findings(text) if finding.kind in kinds)
    for finding in sorted(found, key=lambda each: each.position):
        line += text.count("\n", done, finding.position)
        done = finding.position
        yield line, finding


def _with_good_turns(text: str) -> str:
    found = turns(text)
    if not found:
        return text
    parts = [text[: found[0].start]]
    for turn, body in bodies(text, found):
        core = body.rstrip()
        blank = " " if turn.misspelled and not body[:1].isspace() else ""
        parts += ["" if turn.apart else "\n", f"{turn.role}:{blank}"]
        parts += [_BLANK_LINES.sub("\n", core), body[len(core) :]]
    return "".join(parts)
