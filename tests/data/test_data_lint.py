"""What is warned of, with its place, and what is not."""

import json

import pytest

from eyas.data.lint import (
    BLANK_LINE,
    BOM,
    CRLF,
    LOST,
    MOJIBAKE,
    NEAR_EMPTY,
    NO_ASSISTANT,
    NOT_APART,
    NUL,
    ROLE,
    TWO_USERS,
    UNREADABLE,
    Linter,
    findings,
)
from eyas.data.reading import Bad, Document
from eyas.data.spans import Span

GOOD = "User: What is 2 + 3?\n\nAssistant: It is 5.\n\nUser: Thanks!\n\nAssistant: Ask me more."
PROSE = 'It was late: the fox slept.\n\nHe said:\n\n"Who is there?"\n\nName: Reynard\nAge: 3\n'


def document(text: str, place: str = "d.jsonl:7") -> Document:
    return Document((Span(text, True),), place)


def seen(*records: Document | Bad, rendered: bool = True) -> dict[str, tuple[int, list[str]]]:
    """The label of each finding with its count and the places."""
    linter = Linter(rendered)
    assert list(linter.watching(records)) == list(records)
    return {
        kind.label: (found.count, [place for place, _ in found.first])
        for kind, found in linter.found.items()
    }


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"System: Be brief.\n\n{GOOD}\n\n",
        PROSE,
        "User: Run it.\n\nAssistant: ```json\n{}\n```\n\nUser: Function output:\n{}\n\n"
        "User: Function output:\n{}\n\nAssistant: Done.",
        "def f(user: str) -> None:\n    assert user\n\n\nclass User:\n    pass\n\n\nuser: User\n",
        "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。",
        "naïve “café” — Größe, Привет «мир», 안녕하세요 여러분",
    ],
)
def test_good_texts_have_no_findings(text: str) -> None:
    assert list(findings(text)) == []


@pytest.mark.parametrize(
    ("text", "kind", "shown"),
    [
        (GOOD.replace("\n\nAssistant", "\nAssistant", 1), NOT_APART, "'Assistant: It is 5."),
        (GOOD.replace("It is", "It is\n\nclearly"), BLANK_LINE, "'clearly 5.'"),
        (GOOD.replace("It is", "It is\r\n\r\nclearly"), BLANK_LINE, "'clearly 5.'"),
        (GOOD.replace("Assistant", "Assistent", 1), ROLE, "'Assistent:'"),
        (GOOD.replace("User:", "User：", 1), ROLE, "'User：'"),
        (GOOD.replace("User:", "user:", 1), ROLE, "'user:'"),
        (GOOD.replace("Assistant:", "ASSISTANT :", 1), ROLE, "'ASSISTANT :'"),
        ("User: Is anybody there?", NO_ASSISTANT, "'User: Is anybody there?'"),
        ("User: a question\n\nUser: b\n\nAssistant: c", TWO_USERS, "'User: b"),
        (GOOD.replace("It is", "cafÃ©"), MOJIBAKE, "'Assistant: cafÃ© 5.'"),
        (GOOD.replace("It is", "It \ufffd"), LOST, ""),
        (GOOD.replace("It is", "锟斤拷锟斤拷"), LOST, ""),
        ("\ufeff" + GOOD, BOM, ""),
        (GOOD.replace("?", "?\r\n"), CRLF, ""),
        (GOOD.replace("?", "\0"), NUL, ""),
        (" Hello! ", NEAR_EMPTY, "' Hello! '"),
    ],
)
def test_each_kind_is_found(text: str, kind: object, shown: str) -> None:
    found = {finding.kind: finding for finding in findings(text)}
    assert kind in found
    assert found[kind].shown.startswith(shown)
    assert set(found) <= {kind, CRLF}  # those of the text with \r\n have two kinds


def test_places_are_records_and_lines() -> None:
    broken = GOOD.replace("\n\nA", "\nA")
    assert seen(document(broken)) == {NOT_APART.label: (2, ["d.jsonl:7", "d.jsonl:7"])}
    assert seen(document(broken, "talks/a.txt")) == {
        NOT_APART.label: (2, ["talks/a.txt:2", "talks/a.txt:5"])
    }


def test_all_are_counted_and_the_first_are_placed() -> None:
    records = [document("x\ufffdy\ufffd is broken", f"d.jsonl:{i}") for i in range(1, 10)]
    assert seen(*records) == {LOST.label: (18, [f"d.jsonl:{i}" for i in range(1, 6)])}


def test_records_that_cannot_be_read_are_among_them() -> None:
    bad = Bad("d.jsonl:3", "is not UTF-8")
    linter = Linter()
    linter.look(bad)
    linter.look(document(GOOD))
    assert (linter.documents, linter.characters) == (1, len(GOOD))
    assert linter.found[UNREADABLE].first == [("d.jsonl:3", "is not UTF-8")]


def test_what_looks_like_a_turn_within_a_message_is_none() -> None:
    spans = (
        Span("User: Write a talk.\n\nAssistant:", False),
        Span(" User: Hi\nAssistant: Ho", True),
    )
    record = Document(spans, "d.jsonl:1")
    assert seen(record) == {}
    assert seen(record, rendered=False) == {NOT_APART.label: (1, ["d.jsonl:1"])}


def test_texts_of_code_in_json_are_no_conversations() -> None:
    text = json.dumps({"user": "root", "assistant": None}, indent=0) + "\nuser: x\nsystem: y"
    assert list(findings(text)) == []
