"""What is about to happen, said before a run: the data, the parameters, the memory."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_summary(sections: Mapping[str, Sequence[str]], terminal: Console | None = None) -> None:
    """Prints each section as its name with its lines."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for label, lines in sections.items():
        table.add_row(Text(label, style="bold"), Text("\n".join(lines)))
    (terminal or Console()).print(table)
