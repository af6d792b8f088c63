"""What is printed before a run."""

import io

from rich.console import Console

from eyas.observe.summary import print_summary


def test_sections_with_their_lines() -> None:
    file = io.StringIO()
    sections = {"data": ["12 documents", "34 % trained"], "memory": ["weights 1 GiB"]}
    print_summary(sections, Console(file=file, width=60))
    assert [line.rstrip() for line in file.getvalue().splitlines()] == [
        "data    12 documents",
        "        34 % trained",
        "memory  weights 1 GiB",
    ]
