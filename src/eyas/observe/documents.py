"""Documents on the terminal, what is trained of them in color."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from unicodedata import category

from rich.console import Console
from rich.text import Text

_TRAINED, _READ = "bold green", "dim"

Runs = Sequence[tuple[str, bool]]


def print_documents(
    documents: Sequence[tuple[str, Runs]],
    terminal: Console | None = None,
    characters: int = 1200,
) -> None:
    """Prints documents, each with its place: runs of text with whether they are trained.

    These are green where there are colors, else between [[ and ]]. At most `characters` of each
    document are shown.
    """
    if not documents:
        return
    terminal = terminal or Console()
    colored = terminal.color_system is not None
    how = Text("in green", _TRAINED) if colored else Text("between [[ and ]]")
    terminal.print(Text("What is trained is ").append_text(how).append(":"))
    for place, runs in documents:
        terminal.print(Text(visible(place), "bold"), soft_wrap=True)
        terminal.print(_marked(runs, colored, characters), soft_wrap=True)
        left = sum(len(text) for text, _ in runs) - characters
        if left > 0:
            terminal.print(f"... and {left:,} characters more", style=_READ, highlight=False)


def visible(text: str) -> str:
    """Control characters of the data must not reach the terminal."""
    harmful = {c for c in set(text) - set("\n\t") if category(c) in ("Cc", "Cs")}
    return "".join(repr(c)[1:-1] if c in harmful else c for c in text)


def _marked(runs: Runs, colored: bool, characters: int) -> Text:
    shown = Text()
    for text, trained in _cut(_joined(runs), characters):
        mark = "[[%s]]" if trained and not colored else "%s"
        shown.append(mark % visible(text), _TRAINED if trained else _READ)
    return shown


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
