"""Which parts of a text a mask trains."""

import random
import re
from itertools import pairwise

import pytest

from eyas.data.answers import (
    Mask,
    answer_spans,
    line_answer_spans,
    marker_pair,
    marker_spans,
    masked,
    spans_of,
)
from eyas.data.markers import marker_of
from eyas.data.marking import byte_widths, mark
from eyas.data.spans import Span
from eyas.data.template import Message, render
from eyas.data.world import World
from eyas.errors import UserError


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def shown(spans: tuple[Span, ...]) -> str:
    """The text with its trained parts in brackets."""
    return "".join(f"[{span.text}]" if span.trained else span.text for span in spans)


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ("auto", "[User: a\n\nAssistant: <b>c</b>\nUser: d]"),
        ("all", "[User: a\n\nAssistant: <b>c</b>\nUser: d]"),
        ("none", "[User: a\n\nAssistant: <b>c</b>\nUser: d]"),
        ("pad", "[User: a\n\nAssistant: <b>c</b>\nUser: d]"),
        ("answers", "User: a\n\nAssistant:[ <b>c</b>\nUser: d]"),
        ("qa", "User: a\n\nAssistant:[ <b>c</b>\n]User: d"),
        ("se", "User: a\n\nAssistant: <b>[c</b>]\nUser: d"),
    ],
)
def test_each_mask(mask: Mask, expected: str) -> None:
    text = "User: a\n\nAssistant: <b>c</b>\nUser: d"
    assert shown(spans_of(text, mask, ("<b>", "</b>"))) == expected


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ("auto", "User: a\n\nAssistant:[ b]"),
        ("answers", "User: a\n\nAssistant:[ b]"),
        ("qa", "User: a\n\nAssistant:[ b]"),
        ("all", "[User: a\n\nAssistant: b]"),
        ("none", "[User: a\n\nAssistant: b]"),
        ("pad", "[User: a\n\nAssistant: b]"),
        ("se", "User: a[\n\nAssistant]: b"),
    ],
)
def test_each_mask_of_a_rendered_conversation(mask: Mask, expected: str) -> None:
    spans = render([Message("user", "a"), Message("assistant", "b")])
    assert shown(masked(spans, mask, (" a", "Assistant"))) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("User: a\nAssistant: b\nUser: c\nAssistant: d", None),
        ("Assistant: b", "Assistant:[ b]"),
        ("Assistant:b\n\n\nUser:c", "Assistant:[b\n\n\n]User:c"),
        # The next User ends it, and nothing else.
        ("Assistant: b\n\nSystem: s\nUser: c", "Assistant:[ b\n\nSystem: s\n]User: c"),
        ("Assistant: b\nAssistant: c", "Assistant:[ b\n]Assistant:[ c]"),
        ("say Assistant: b\n User: c", "say Assistant: b\n User: c"),
        ("Assistant: b\r\nUser: c", "Assistant:[ b\r\n]User: c"),
        ("nothing", "nothing"),
    ],
)
def test_qa(text: str, expected: str | None) -> None:
    expected = expected or "User: a\nAssistant:[ b\n]User: c\nAssistant:[ d]"
    assert shown(line_answer_spans(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a<s>b<e>c", "a<s>[b<e>]c"),
        ("<s>b<e><s>c<e>", "<s>[b<e>]<s>[c<e>]"),
        ("a<e>b<s>c", "a<e>b<s>[c]"),
        ("<s>b<s>c<e>d<e>", "<s>[b<s>c<e>]d<e>"),
        ("<s><e>", "<s>[<e>]"),
        ("<s>", "<s>"),
        ("a", "a"),
        ("", ""),
    ],
)
def test_between_two_markers(text: str, expected: str) -> None:
    assert shown(marker_spans(text, "<s>", "<e>")) == expected


def test_one_marker_may_be_both() -> None:
    assert shown(marker_spans("a|b|c|d|e", "|", "|")) == "a|[b|]c|[d|]e"


def test_markers_in_random_texts() -> None:
    chance = random.Random(3)
    for _ in range(500):
        text = "".join(chance.choices(["<s>", "<e>", "<", "s", ">", "。", "\n"], k=12))
        spans = marker_spans(text, "<s>", "<e>")
        assert "".join(span.text for span in spans) == text
        assert all(one.trained != next_one.trained for one, next_one in pairwise(spans))
        trained = [span.text for span in spans if span.trained]
        assert trained == [found for found in re.findall(r"(?s)<s>(.*?(?:<e>|\Z))", text) if found]


def by_lines(text: str) -> list[bool]:
    """Whether each character is trained by `qa`, told line by line."""
    flags: list[bool] = []
    speaking = False
    for line in text.splitlines(keepends=True):
        head = next((name for name in ("User:", "Assistant:") if line.startswith(name)), "")
        speaking = head == "Assistant:" if head else speaking
        flags += [False] * len(head) + [speaking] * (len(line) - len(head))
    return flags


def test_qa_in_random_texts() -> None:
    chance = random.Random(4)
    parts = ["User:", "Assistant:", "System:", " a", "\n", "\n\n", "。", "User", ":"]
    for _ in range(500):
        text = "".join(chance.choices(parts, k=12))
        flags = [span.trained for span in line_answer_spans(text) for _ in span.text]
        assert flags == by_lines(text)
        assert "".join(span.text for span in line_answer_spans(text)) == text
        assert "".join(span.text for span in answer_spans(text)) == text


def test_qa_and_answers_agree_on_well_formed_conversations() -> None:
    chance = random.Random(5)
    for _ in range(200):
        turns = [chance.choice(["User: a", "Assistant: b\nc", "Assistant: 好。"]) for _ in range(5)]
        text = "\n\n".join(turns)
        assert line_answer_spans(text) == answer_spans(text)


def test_qa_trains_the_tokens_that_a_search_of_token_ids_finds(world: World) -> None:
    # The markers' tokens excepted, which RWKV-PEFT trains where they begin an answer.
    text = "User: 2+2?\n\nAssistant: It is 4.\n\nUser: 3+3?\n\nAssistant: It is 6."
    user, assistant = world.encode("User:"), world.encode("Assistant:")
    ids, expected, speaking = world.encode(text), [], False
    i = 0
    while i < len(ids):
        for marker in (user, assistant):
            if ids[i : i + len(marker)] == marker:
                expected += [False] * len(marker)
                i += len(marker)
                speaking = marker == assistant
                break
        else:
            expected.append(speaking)
            i += 1
    spans = spans_of(text, "qa")
    found, flags = mark(spans, world, byte_widths(world))
    assert found[:-1].tolist() == ids
    assert flags[:-1].tolist() == expected


@pytest.mark.parametrize("ending", ["。", "，", "…", "."])
def test_the_end_of_a_turn_is_trained_whatever_token_holds_it(world: World, ending: str) -> None:
    # Three tokens of the World vocabulary hold their line end: 。\n ，\n …\n
    messages = [Message("user", f"问{ending}"), Message("assistant", f"好{ending}")] * 2
    spans = render(messages)
    ids, flags = mark(spans, world, byte_widths(world))
    pieces = [world.token_bytes(token) for token in ids.tolist()]
    assert b"".join(pieces).decode() == "".join(span.text for span in spans)
    assert (f"{ending}\n".encode() in pieces) == (ending != ".")
    assert (261 in ids.tolist()) == (ending == ".")
    trained = [piece for piece, flag in zip(pieces, flags, strict=True) if flag]
    answer = f" 好{ending}".encode()
    assert b"".join(trained) == answer + b"\n\n" + answer
    assert flags[-1]


def test_a_token_across_the_border_is_trained(world: World) -> None:
    spans = marker_spans("说。\n好。\n", "说。", "。")
    assert shown(spans) == "说。[\n好。]\n"
    ids, flags = mark(spans, world, byte_widths(world))
    pieces = [world.token_bytes(token).decode() for token in ids.tolist()]
    assert list(zip(pieces, flags, strict=True)) == [
        ("说", False),
        ("。\n", True),
        ("好", True),
        ("。\n", True),
        ("", False),
    ]


@pytest.mark.parametrize("mask_id", [(), ("a",), ("a", "b", "c"), ("", "b"), ("a", "")])
def test_two_markers_are_needed(mask_id: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="two markers"):
        spans_of("text", "se", mask_id)


def test_two_markers() -> None:
    assert marker_pair(["a", "b"]) == ("a", "b")


@pytest.mark.parametrize(
    ("value", "expected"),
    [("<s>", "<s>"), ("24281", "User"), (24281, "User"), ("٣", "٣"), ("1.5", "1.5"), ("\n", "\n")],
)
def test_a_marker_is_a_text_or_the_number_of_a_token(
    world: World, value: str | int, expected: str
) -> None:
    assert marker_of(value, world.token_bytes) == expected


@pytest.mark.parametrize("value", ["0", "130", 65535, "99999999", "9" * 5000])
def test_a_token_that_is_no_text_is_no_marker(world: World, value: str | int) -> None:
    with pytest.raises(UserError, match=f"mask_id {value}: .*text"):
        marker_of(value, world.token_bytes)
