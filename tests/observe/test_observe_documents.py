"""Documents on the terminal."""

import io

from rich.console import Console

from eyas.observe.documents import print_documents

RUNS = [("User: hi\n\n", False), ("Assistant:", False), (" Hal", True), ("lo", True), ("\n", False)]


def printed(documents: list[tuple[str, list[tuple[str, bool]]]], color: bool) -> str:
    file = io.StringIO()
    terminal = Console(
        file=file, width=60, force_terminal=color, color_system="standard" if color else None
    )
    print_documents(documents, terminal, 20)
    return file.getvalue()


def test_each_document_has_its_place_and_its_marks() -> None:
    assert printed([("d.jsonl:1", RUNS), ("d.jsonl:2", [("all of it", True)])], False) == (
        "What is trained is between [[ and ]]:\n"
        "d.jsonl:1\n"
        "User: hi\n\nAssistant:\n... and 7 characters more\n"
        "d.jsonl:2\n"
        "[[all of it]]\n"
    )


def test_colors_where_there_are_any() -> None:
    output = printed([("d.jsonl:1", RUNS[2:])], True)
    assert "\x1b[1;32m Hallo\x1b[0m" in output
    assert "[[" not in output


def test_neither_data_nor_places_steer_the_terminal() -> None:
    output = printed([("[red]\x1b.txt", [("\x1b[31m[red]\r", True)])], False)
    assert "[red]\\x1b.txt\n[[\\x1b[31m[red]\\r]]\n" in output


def test_nothing_is_said_of_nothing() -> None:
    assert printed([], False) == ""
