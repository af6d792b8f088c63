"""A document's text in parts, each of them trained or not."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """A part of a document's text."""

    text: str
    trained: bool


def joined(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same without empty spans, neighbors that agree made one."""
    texts: list[list[str]] = []
    flags: list[bool] = []
    for span in spans:
        if not span.text:
            continue
        if not flags or flags[-1] != span.trained:
            texts.append([])
            flags.append(span.trained)
        texts[-1].append(span.text)
    return tuple(Span("".join(parts), flag) for parts, flag in zip(texts, flags, strict=True))
