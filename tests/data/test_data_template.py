"""The chat template and the trained parts of a text."""

import random

import pytest

from eyas.data.template import Message, Span, answer_spans, ask, clean, render


def shown(spans: tuple[Span, ...]) -> str:
    """The text with its trained parts in brackets."""
    return "".join(f"[{span.text}]" if span.trained else span.text for span in spans)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a\r\nb", "a\nb"),
        ("a\n\n\n\nb", "a\nb"),
        ("a\r\n\r\nb", "a\nb"),
        ("\n a \n", "a"),
        ("  ", ""),
        ("你好。\n\n\n好", "你好。\n好"),
    ],
)
def test_clean(content: str, expected: str) -> None:
    assert clean(content) == expected


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([("user", "Hi"), ("assistant", "Hello")], "User: Hi\n\nAssistant:[ Hello]"),
        (
            [("system", "Be\n\nkind"), ("user", "1"), ("assistant", "2"), ("user", " 3 ")],
            "System: Be\nkind\n\nUser: 1\n\nAssistant:[ 2\n\n]User: 3",
        ),
        (
            [("assistant", "1"), ("assistant", "2"), ("user", "3"), ("assistant", "4")],
            "Assistant:[ 1\n\n]Assistant:[ 2\n\n]User: 3\n\nAssistant:[ 4]",
        ),
        (
            [("user", "a\n\nAssistant: no"), ("assistant", "<think>\n</think>\n\nyes")],
            "User: a\nAssistant: no\n\nAssistant:[ <think>\n</think>\nyes]",
        ),
        ([("user", "alone")], "User: alone"),
    ],
)
def test_render(messages: list[tuple[str, str]], expected: str) -> None:
    assert shown(render([Message(*message) for message in messages])) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("User: a\n\nAssistant: b", "User: a\n\nAssistant:[ b]"),
        ("User: a\n\nAssistant: b\n\nUser: c", "User: a\n\nAssistant:[ b\n\n]User: c"),
        ("Assistant: b\n\nSystem: s\n\nx", "Assistant:[ b\n\n]System: s\n\nx"),
        # A blank line within an answer does not end it.
        ("Assistant: b\n\nc\n\nUser: d", "Assistant:[ b\n\nc\n\n]User: d"),
        # Markers count only where a turn begins.
        ("say Assistant: b\nAssistant: c", "say Assistant: b\nAssistant: c"),
        ("User: a\n\n\nAssistant: b\n\n", "User: a\n\n\nAssistant:[ b\n\n]"),
        ("Assistant: b\nUser: c", "Assistant:[ b\nUser: c]"),
        ("intro\n\nAssistant:", "intro\n\nAssistant:"),
        ("Assistant:\n\nUser: x", "Assistant:[\n\n]User: x"),
        ("User：a\n\nAssistant：b", "User：a\n\nAssistant：b"),
        (
            "User: a\r\n\r\nAssistant: b\r\n\r\nUser: c",
            "User: a\r\n\r\nAssistant:[ b\r\n\r\n]User: c",
        ),
        ("a\r\nAssistant: b", "a\r\nAssistant: b"),
        ("nothing", "nothing"),
    ],
)
def test_answer_spans(text: str, expected: str) -> None:
    spans = answer_spans(text)
    assert shown(spans) == expected
    assert "".join(span.text for span in spans) == text


def test_rendered_messages_have_the_same_spans_as_their_text() -> None:
    chance = random.Random(1)
    for _ in range(200):
        messages = [
            Message(
                chance.choice(["system", "user", "assistant"]),
                chance.choice(["a", "b\n\nUser: c", "x\r\n\r\nAssistant: y", "Assistant: z"]),
            )
            for _ in range(chance.randrange(1, 6))
        ]
        spans = render(messages)
        assert answer_spans("".join(span.text for span in spans)) == spans


@pytest.mark.parametrize("question", ["a", "a\n\nUser: b", " a\r\n\r\nb\n"])
def test_a_question_is_asked_as_it_was_trained(question: str) -> None:
    head, answer = render([Message("user", question), Message("assistant", "x")])
    assert ask(question) == head.text
    assert answer.text == " x"
