"""The chat template and the trained parts of a text."""

import json
import random
from typing import Any

import pytest

from eyas.data.template import (
    G1,
    Message,
    Span,
    Template,
    answer_spans,
    ask,
    clean,
    open_template,
    render,
    tool_call_content,
    tools_system,
)

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "天气 of a place",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string"}, "day": {"type": "string"}},
            "required": ["place"],
        },
    },
}
CLOCK = {"name": "clock", "description": "The time", "parameters": {"properties": {}}}
TOOLS_TEXT = (
    "Tools:\n[\n"
    '{"name":"weather","description":"天气 of a place",'
    '"arguments":{"place":{"type":"string"},"day":{"type":"string"}},"required":["place"]},\n'
    '{"name":"clock","description":"The time","arguments":{}}\n'
    "]\nReturn only a JSON function call."
)
CALL = {"name": "weather", "arguments": {"place": "北京"}}
CALL_TEXT = '```json\n{"name":"weather","arguments":{"place":"北京"}}\n```'


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
        # What is left must not look like a blank line to those who take \r\n for a line end.
        ("a\n\r\r\nb", "a\nb"),
        ("a\rb", "a\rb"),
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


@pytest.mark.parametrize(
    ("thinking", "content", "expected"),
    [
        (None, "4", " 4"),
        ("", "4", " <think>\n</think>\n4"),
        ("2 + 2\n\nis 4", "4", " <think>\n2 + 2\nis 4\n</think>\n4"),
        (" \r\n two \r\n\r\n", "\n\n4\n", " <think>\ntwo\n</think>\n4"),
        ("two", "", " <think>\ntwo\n</think>"),
        ("", "", " <think>\n</think>"),
    ],
)
def test_thinking_is_trained_with_the_answer(
    thinking: str | None, content: str, expected: str
) -> None:
    messages = [Message("user", "2+2?"), Message("assistant", content, thinking)]
    assert shown(render(messages)) == f"User: 2+2?\n\nAssistant:[{expected}]"


@pytest.mark.parametrize(
    ("thinking", "said"),
    [(None, "answer"), (True, "so\n\nit is"), (False, "")],
)
def test_a_prompt_is_how_the_answer_was_trained_to_begin(thinking: bool | None, said: str) -> None:
    message = Message("assistant", "x", None if thinking is None else said)
    text = "".join(span.text for span in render([Message("user", "q"), message]))
    prompt = ask("q", thinking)
    assert text.startswith(prompt)
    assert not prompt.endswith(" ")
    assert (
        prompt.removeprefix("User: q\n\nAssistant:")
        == {
            None: "",
            True: " <think",
            False: " <think>\n</think>",
        }[thinking]
    )


def test_a_conversation_with_tools() -> None:
    messages = [
        Message("system", "Be short."),
        Message("user", "Rain?"),
        Message("assistant", CALL_TEXT, thinking="look"),
        Message("tool", '{"rain": true}\n\n'),
        Message("assistant", "Yes."),
    ]
    assert shown(G1().render(messages, [WEATHER, CLOCK])) == (
        f"System: {TOOLS_TEXT}\nBe short.\n\nUser: Rain?\n\n"
        f"Assistant:[ <think>\nlook\n</think>\n{CALL_TEXT}\n\n]"
        'User: Function output:\n{"rain": true}\n\nAssistant:[ Yes.]'
    )
    assert shown(G1().render(messages[1:2], [WEATHER, CLOCK])) == (
        f"System: {TOOLS_TEXT}\n\nUser: Rain?"
    )


@pytest.mark.parametrize("content", ["", "Let me look.\n\n"])
@pytest.mark.parametrize(
    "call",
    [
        CALL,
        {"id": "1", "type": "function", "function": CALL},
        {"function": {"name": "weather", "arguments": json.dumps(CALL["arguments"])}},
    ],
)
def test_tool_calls_are_written_after_the_content(content: str, call: dict[str, Any]) -> None:
    message = Message("assistant", content, tool_calls=(call,))
    before = "Let me look.\n" if content else ""
    assert shown(render([message])) == f"Assistant:[ {before}{CALL_TEXT}]"


def test_several_tool_calls_are_a_list() -> None:
    block = tool_call_content([CALL, {"name": "clock", "arguments": "now"}, {"name": "bell"}])
    lines = block.splitlines()
    assert (lines[0], lines[-1]) == ("```json", "```")
    assert json.loads("".join(lines[1:-1])) == [
        CALL,
        {"name": "clock", "arguments": "now"},
        {"name": "bell", "arguments": {}},
    ]


@pytest.mark.parametrize("call", [{}, {"name": 3}, {"function": "weather"}, {"function": {}}])
def test_a_tool_call_without_a_name(call: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match='no "name"'):
        tool_call_content([call])


@pytest.mark.parametrize("properties", [1, "x", ["a"]])
def test_a_tool_whose_schema_is_none(properties: object) -> None:
    tool = {"name": "clock", "parameters": {"properties": properties, "required": ["a"]}}
    with pytest.raises(ValueError, match='"properties" are no object; give'):
        tools_system([tool])


@pytest.mark.parametrize(
    "call", [{"name": "\ud800"}, {"name": "a", "arguments": '{"x": "\\ud800"}'}]
)
def test_half_a_surrogate_pair_in_json(call: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"half a surrogate pair \('\\ud800'\)"):
        tool_call_content([call])
    with pytest.raises(ValueError, match="half a surrogate pair"):
        tools_system([{"name": "\ud800"}])


@pytest.mark.parametrize(
    "tool",
    [
        {"name": "a", "arguments": {"x": {"type": "string"}}},
        {"function": {"name": "a", "arguments": {"x": {"type": "string"}}}},
        {"name": "a", "parameters": {"properties": {"x": {"type": "string"}}, "required": None}},
        {"name": "a", "parameters": {"properties": {"x": {"type": "string"}}, "required": ["x"]}},
    ],
)
def test_a_tool_is_described_in_short(tool: dict[str, Any]) -> None:
    described = '{"name":"a","arguments":{"x":{"type":"string"}}}'
    assert tools_system([tool]).splitlines()[2] == described


def test_tools_of_another_kind_are_shown_as_they_are() -> None:
    lines = tools_system([{"function": "f(x)"}, {"parameters": "none"}]).splitlines()
    assert lines[2:4] == ['{"function":"f(x)"},', '{"parameters":"none"}']


def conversation(chance: random.Random) -> list[Message]:
    parts = ["a", "b\n\nUser: c", "x\r\n\r\nAssistant: y", "Assistant: z", "好。\n", " \r\r\n\n"]

    def text() -> str:
        return "".join(chance.choices(parts, k=chance.randrange(1, 4)))

    return [
        Message(
            role := chance.choice(["system", "user", "assistant", "tool"]),
            text(),
            chance.choice([None, "", text()]) if role == "assistant" else None,
            (CALL,) if role == "assistant" and chance.random() < 0.3 else (),
        )
        for _ in range(chance.randrange(1, 7))
    ]


def test_any_conversation_reads_back_as_it_was_written() -> None:
    chance = random.Random(2)
    for _ in range(500):
        messages = conversation(chance)
        tools = chance.choice([(), (WEATHER, CLOCK)])
        spans = G1().render(messages, tools)
        text = "".join(span.text for span in spans)
        assert answer_spans(text) == spans
        turns = text.split("\n\n")
        assert len(turns) == len(messages) + (bool(tools) and messages[0].role != "system")
        # What came before a turn does not depend on what follows.
        if len(messages) > 1:
            start = "".join(span.text for span in G1().render(messages[:-1], tools))
            assert text.startswith(f"{start}\n\n")


def test_the_template_without_a_file_is_g1() -> None:
    assert isinstance(open_template(None), G1)
    assert isinstance(G1(), Template)
