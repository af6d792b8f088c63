"""What is about to happen, said before a run: the data, the parameters, the memory, a document."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from unicodedata import category

from rich.console import Console
from rich.table import Table
from rich.text import Text

_TRAINED, _READ = "bold green", "dim"


def print_summary(
    sections: Mapping[str, Sequence[str]],
    document: Sequence[tuple[str, bool]] = (),
    terminal: Console | None = None,
    characters: int = 1200,
) -> None:
    """Prints each section as its name with its lines, then the first document.

    `document` is its text in runs, each with whether it is trained: green where there are
    colors, else between [[ and ]]. At most `characters` of it are shown.
    """
    terminal = terminal or Console()
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for label, lines in sections.items():
        table.add_row(Text(label, style="bold"), Text("\n".join(lines)))
    terminal.print(table)
    if document:
        _print_document(document, terminal, characters)


def _print_document(
    document: Sequence[tuple[str, bool]], terminal: Console, characters: int
) -> None:
    colored = terminal.color_system is not None
    how = Text("in green", _TRAINED) if colored else Text("between [[ and ]]")
    terminal.print(Text("The first document; what is trained is ").append_text(how).append(":"))
    shown = Text()
    for text, trained in _cut(_joined(document), characters):
        mark = "[[%s]]" if trained and not colored else "%s"
        shown.append(mark % visible(text), _TRAINED if trained else _READ)
    left = sum(len(text) for text, _ in document) - characters
    terminal.print(shown, soft_wrap=True)
    if left > 0:
        terminal.print(f"... and {left:,} characters more", style=_READ, highlight=False)


def _joined(runs: Iterable[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """Runs that follow one another and are alike become one."""
    groups = groupby(runs, key=lambda run: run[1])
    return [("".join(text for text, _ in group), trained) for trained, group in groups]


def _cut(runs: Iterable[tuple[str, bool]], characters: int) -> list[tuple[str, bool]]:
    kept = []
    for text, trained in runs:
        kept.append((text[:characters], trained))
        characters -= len(kept[-1][0])
    return [run for run in kept if run[0]]


def visible(text: str) -> str:
    """Control characters of the data must not reach the terminal."""
    harmful = {c for c in set(text) - set("\n\t") if category(c) in ("Cc", "Cs")}
    return "".join(repr(c)[1:-1] if c in harmful else c for c in text)
