"""Repaired texts: as they were meant, and nothing is found in them any more."""

import random

import pytest

from eyas.data.lint import findings
from eyas.data.mending import SURROGATE, mended


def in_words(text: str, in_turns: bool = True) -> tuple[str, list[tuple[int, str]]]:
    whole, found = mended(text, in_turns)
    return whole, [(line, finding.kind.label.split()[-1]) for line, finding in found]


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("User: a\nAssistant: b\nUser: c\nAssistant: d", None),
        ("user: a\n\nassistant: b\n\nuser: c\n\nassistant: d", None),
        ("User：a\r\n\r\nAssistent ：b\r\n\r\nUser : c\n\nASSISTANT: d", None),
        ("\ufeffUser: a\n \nAssistant: b\n\n User: c\n\n\nAssistant:\td\0", "\n \n\n \n\n\n\t"),
    ],
)
def test_conversations(text: str, right: str | None) -> None:
    good = "User: a\n\nAssistant: b\n\nUser: c\n\nAssistant: d"
    whole, found = mended(text, True)
    assert found
    if right is None:
        assert whole == good
    else:  # blanks that do no harm stay
        assert whole == "User: a\n \n\nAssistant: b\n\nUser: c\n\n\nAssistant:\td"


def test_blank_lines_go_from_turns_only() -> None:
    text = "A preface.\n\nIn two parts.\n\nUser: a\n\nb\n\n\n\nc\n\nAssistant:\n\nd\r\n\r\ne\n\n"
    assert mended(text, True)[0] == (
        "A preface.\n\nIn two parts.\n\nUser: a\nb\nc\n\nAssistant:\nd\ne\n\n"
    )
    prose = "One.\n\nTwo.\n\n\nThree: four."
    assert mended(prose, True) == (prose, [])


def test_a_message_keeps_what_looks_like_turns() -> None:
    text = "A talk:\nUser: a\nAssistant: b\n\nc"
    assert mended(text, False) == (text, [])


def test_surrogates() -> None:
    whole, found = mended("a\ud83d\ude00b\nc\ud83dd\udc00", False)
    assert whole == "a😀b\ncd"
    assert [(line, f.kind, f.shown) for line, f in found] == [
        (2, SURROGATE, "'\\ud83d'"),
        (2, SURROGATE, "'\\udc00'"),
    ]


def test_lines_are_told() -> None:
    text = "User: a\0\nAssistant: b\n\nUser: x\n\ny\ufeff\n\nAssistent: cafÃ©"
    assert in_words(text) == (
        "User: a\n\nAssistant: b\n\nUser: x\ny\n\nAssistant: café",
        [(1, "character"), (6, "mark"), (8, "encoding"), (2, "turn"), (4, "stop"), (8, "right)")],
    )


PIECES = (
    *("User:", "Assistant:", "System:", "user:", "Assistent:", "User：", "ASSISTANT :", " User:"),
    *(
        "\n",
        "\n",
        "\n\n",
        "\r\n",
        " \n",
        "```",
        "```yaml\n",
        "hello",
        "你好。",
        "cafÃ©",
        "\0",
        "  ",
    ),
    *(
        "\ufeff",
        "浣犲ソ锛屼笘鐣岋紒",
        "\t",
        "Â ",
        "\ud83d",
        "\udc00",
        "a: b",
        "Ã",
        "锛",
        "Users:",
        "\x85",
    ),
)


def test_nothing_that_is_repaired_is_found_again() -> None:
    for seed in range(1500):
        chance = random.Random(seed)
        text = "".join(chance.choices(PIECES, k=chance.randrange(1, 14)))
        whole, found = mended(text, True)
        assert not [finding for finding in findings(whole) if finding.kind.repair]
        assert mended(whole, True) == (whole, [])
        assert found or whole == text.encode("utf-16", "surrogatepass").decode("utf-16")
