"""What is printed before a run."""

import io

from rich.console import Console

from eyas.observe.summary import print_summary

RUNS = [("User: hi\n\n", False), ("Assistant:", False), (" Hal", True), ("lo", True), ("\n", False)]


def printed(
    document: list[tuple[str, bool]], color: bool, characters: int = 1200, **sections: list[str]
) -> str:
    file = io.StringIO()
    terminal = Console(
        file=file, width=60, force_terminal=color, color_system="standard" if color else None
    )
    print_summary(sections, document, terminal, characters)
    return file.getvalue()


def test_sections_with_their_lines() -> None:
    output = printed([], False, data=["12 documents", "34 % trained"], memory=["weights 1 GiB"])
    assert [line.rstrip() for line in output.splitlines()] == [
        "data    12 documents",
        "        34 % trained",
        "memory  weights 1 GiB",
    ]


def test_trained_text_is_marked_without_colors() -> None:
    assert printed(RUNS, False) == (
        "The first document; what is trained is between [[ and ]]:\n"
        "User: hi\n\nAssistant:[[ Hallo]]\n\n"
    )


def test_trained_text_is_green() -> None:
    output = printed(RUNS, True)
    assert "\x1b[1;32m Hallo\x1b[0m" in output
    assert "[[" not in output


def test_long_documents_are_cut() -> None:
    output = printed([("a" * 1000, False), ("b" * 1500, True)], False, characters=1200)
    assert "a" * 1000 + "[[" + "b" * 200 + "]]\n" in output
    assert output.endswith("... and 1,300 characters more\n")


def test_data_cannot_steer_the_terminal() -> None:
    output = printed([("\x1b[31m[red]x[/red]\r\u3000猫🦅", True)], False)
    assert "[[\\x1b[31m[red]x[/red]\\r\u3000猫🦅]]" in output
    assert "\x1b" not in output
