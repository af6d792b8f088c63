"""Where answers end, however their tokens part them."""

import pytest

from eyas.chat.ending import as_shown, until_end

ON, OFF = " <think", " <think>\n</think>"


@pytest.mark.parametrize(
    ("said", "cue", "expected"),
    [
        (" Hello.\n\nUser: x", "", " Hello."),
        (" Hello.\nTwo", "", " Hello.\nTwo"),
        ("\n\nUser: x", "", ""),
        ("", "", ""),
        (" <", "", " <"),
        (" <thin\n\nx", "", " <thin"),
        (" <think>\na\n\nb\n</think>\nyes\n\nUser:", "", " <think>\na\n\nb\n</think>\nyes"),
        (" a <think>\n\nb", "", " a <think>"),
        (">\na\n\nb\n</think>\n\nyes\n\nno", ON, ">\na\n\nb\n</think>\n\nyes"),
        (">\na\n\nb", ON, ">\na\n\nb"),
        (">\na</thin", ON, ">\na</thin"),
        ("\na\n\nb</think>yes\n\nno", "Assistant: <think>\n", "\na\n\nb</think>yes"),
        ("yes\n\nno", "Assistant: <think>x</think>\n", "yes"),
        ("\nyes\n\nno", OFF, "\nyes"),
        ("\n\nyes\n\nno", OFF, "\n\nyes"),
        ("\n", OFF, "\n"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_stops_count_behind_the_thinking(said: str, cue: str, expected: str, size: int) -> None:
    pieces = [said[i : i + size] for i in range(0, len(said), size)]
    assert "".join(until_end(pieces, ("\n\n",), cue)) == expected


def test_nothing_is_pulled_after_the_end_and_nothing_held_in_vain() -> None:
    pulled: list[str] = []

    def source(text: str):
        for character in text:
            pulled.append(character)
            yield character

    shown = [(piece, len(pulled)) for piece in until_end(source(" ab\n\ncd"), ("\n\n",), "")]
    assert shown == [(" a", 2), ("b", 3)]
    assert len(pulled) == 5
    pulled.clear()
    shown = [(piece, len(pulled)) for piece in until_end(source(">ab</think>c"), ("\n\n",), ON)]
    assert shown == [(">", 1), ("a", 2), ("b", 3), ("</think>", 11), ("c", 12)]


@pytest.mark.parametrize(
    ("pieces", "cue", "expected"),
    [
        (["", " ", " a", " b"], "", "a b"),
        (["\n", "a"], OFF, "a"),
        ([">\n", "a"], ON, "<think>\na"),
        ([" "], "", ""),
    ],
)
def test_as_shown(pieces: list[str], cue: str, expected: str) -> None:
    assert "".join(as_shown(pieces, cue)) == expected
