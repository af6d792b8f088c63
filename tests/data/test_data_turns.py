"""Where turns are found, and where a line with a colon is none."""

import pytest

from eyas.data.turns import bodies, turns


def heads(text: str) -> list[str]:
    """The heads of the turns, those without a blank line before them in brackets."""
    return [turn.head if turn.apart else f"({turn.head})" for turn in turns(text)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("User: a\n\nAssistant: b\n\nUser: c", ["User:", "Assistant:", "User:"]),
        ("System: s\n\nUser: a", ["System:", "User:"]),
        ("A talk.\n\nUser: a\r\n\r\nAssistant: b", ["User:", "Assistant:"]),
        ("User: a\nAssistant: b", ["User:", "(Assistant:)"]),
        ("A talk.\n\nUser: a\nAssistant: b", ["User:", "(Assistant:)"]),
        ("User：你好\n\nAssistent: hi", ["User：", "Assistent:"]),
        ("user: a\nassistant: b", ["user:", "(assistant:)"]),
        ("USER : a\n\nAssitant: b", ["USER :", "Assitant:"]),
        ("User: a\n\n Assistant: b", ["User:", " Assistant:"]),
        ("User: a\n \nAssistant: b", ["User:", "(Assistant:)"]),
        ("\nUser: a\n\nAssistant: b", ["(User:)", "Assistant:"]),
        ("User: a\n\nAssistant: b\n\nUesr: c", ["User:", "Assistant:", "Uesr:"]),
    ],
)
def test_turns_well_written_or_not(text: str, found: list[str]) -> None:
    assert heads(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Once upon a time: a tale.\n\nIt ends.",
        "user: root\ngroup: wheel\nsystem: linux\n",  # a configuration
        "System: Ubuntu 22.04\nUser: root\nShell: bash",  # a report
        "Name: Ann\n\nUsers: 3\n\nSystems: 4\n\nAssistants: 2",
        "Poem\n\nAll is: still.\nUse: nothing.\nSure: enough.",
        "He said:\n\nUser: is a word.",
    ],
)
def test_other_texts_have_none(text: str) -> None:
    assert heads(text) == []


@pytest.mark.parametrize(
    "answer",
    [
        "services:\nuser: root\nuser : admin",  # User turns are written well elsewhere
        "```yaml\n\nuser: root\nUser: b\n```",
        "```\n\nAssistent: x\n```\n",
        "Uses: many. Users:\n\nUsers: two\nAssistance: none",
    ],
)
def test_lines_within_an_answer_are_no_turns(answer: str) -> None:
    text = f"User: a\n\nAssistant: {answer}\n\nUser: c"
    assert heads(text) == ["User:", "Assistant:", "User:"]


def test_bodies_follow_the_heads() -> None:
    text = "Hm.\n\nUser: a\n\nAssistant: b\n"
    assert [(t.role, body) for t, body in bodies(text, turns(text))] == [
        ("User", " a\n\n"),
        ("Assistant", " b\n"),
    ]
    assert list(bodies("x", [])) == []
