"""`--map prompt:user,answer:assistant`: which fields of a record are what."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

from eyas.config import did_you_mean

Target = Literal[
    "text", "messages", "system", "user", "assistant", "thinking", "tool", "tools"
]  # fmt: skip

TARGETS: tuple[Target, ...] = get_args(Target)
EXAMPLE = "--map prompt:user,answer:assistant"


class Mapped(NamedTuple):
    """A field of a record, and what it is."""

    field: str
    target: Target


def mapped_fields(entries: Sequence[str]) -> tuple[Mapped, ...]:
    """The entries, in the order they were given, each of them one or several with commas between.

    Raises ValueError, which begins with the name of the option, for what is no mapping.
    """
    parts = [part.strip() for entry in entries for part in entry.split(",") if part.strip()]
    mapped = tuple(map(_mapped, parts))
    targets = [target for _, target in mapped]
    others = {"text": set[str](), "messages": {"system", "tools"}}
    for whole, allowed in others.items():
        if whole in targets and (set(targets) - {whole} - allowed or targets.count(whole) > 1):
            raise ValueError(
                f"map makes a record {' and '.join(targets)}; one {whole} is all of it"
            )
    if mapped and not {"text", "messages", "user", "assistant"} & set(targets):
        raise ValueError(f"map names no text, messages, user or assistant; write {EXAMPLE}")
    return mapped


def _mapped(entry: str) -> Mapped:
    # The last colon: a field's name may have one itself.
    field, colon, target = (part.strip() for part in entry.rpartition(":"))
    if not colon or not field:
        raise ValueError(f"map entry {entry!r} is not FIELD:ROLE; write {EXAMPLE}")
    if target not in TARGETS:
        hint = did_you_mean(target, TARGETS)
        known = ", ".join(TARGETS)
        raise ValueError(f"map entry {entry!r}: {target!r} is none of {known}{hint}")
    return Mapped(field, target)
