"""What reading gives: a document, or what is wrong with a record."""

from dataclasses import dataclass

from eyas.data.spans import Span


@dataclass(frozen=True)
class Document:
    """A text in spans, and the place it comes from, such as "data.jsonl:17".

    Where the last span is trained, so is the token that ends the document.
    """

    spans: tuple[Span, ...]
    place: str


@dataclass(frozen=True)
class Bad:
    """A record that cannot be used. The place is as a document's; the problem names a next step."""

    place: str
    problem: str
    empty: bool = False  # all that is wrong is that it holds no text
