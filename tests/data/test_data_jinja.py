"""Template files of the user's own, beside what transformers makes of the same files."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from eyas.data.jinja import JinjaTemplate
from eyas.data.template import G1, Message, Span, Template, open_template
from eyas.errors import UserError

CHATML = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' }}
{% endfor %}
{% if add_generation_prompt %}
<|im_start|>assistant
{% endif %}
"""

CHATML_MARKED = """\
{%- for message in messages %}
    {%- if message['role'] == 'assistant' %}
        {{- '<|im_start|>assistant\n' }}
        {%- generation %}
            {{- message['content'] + '<|im_end|>' }}
        {%- endgeneration %}
        {{- '\n' }}
    {%- else %}
        {{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}
"""

# One header a turn, the first system turn with a default and with the tools.
HEADERS = """\
{{- bos_token }}
{%- if messages and messages[0].role == 'system' %}
    {%- set system = messages[0].content | trim %}
    {%- set turns = messages[1:] %}
{%- else %}
    {%- set system = 'You are <kind> & "brief".' %}
    {%- set turns = messages %}
{%- endif %}
{%- macro header(role) %}<|start|>{{ role }}<|end|>

{% endmacro %}
{{- header('system') + system }}
{%- if tools is not none %}
    {{- '\\n\\nTools:' }}
    {%- for tool in tools %}
        {{- '\\n' + (tool | tojson(indent=2)) }}
    {%- endfor %}
{%- endif %}
{{- '<|eot|>' }}
{%- for message in turns %}
    {%- if message.tool_calls %}
        {{- header('assistant') }}
        {%- for call in message.tool_calls %}
            {{- '<call>' + (call.function | tojson) + '</call>' }}
            {%- if loop.index > 1 %}{% break %}{% endif %}
        {%- endfor %}
        {{- '<|eot|>' }}
        {%- continue %}
    {%- endif %}
    {{- header('ipython' if message.role == 'tool' else message.role) }}
    {{- message.content | trim + '<|eot|>' + (eos_token if loop.last else '') }}
{%- endfor %}
{%- if add_generation_prompt %}{{ header('assistant') }}{% endif %}
"""

# Turns between which a blank is all there is; thinking in a namespace; marks within a macro.
THINKING_MARKED = """\
{%- macro answer(message) %}
    {%- generation %}
        {%- if message.reasoning_content is defined and message.reasoning_content %}
            {{- '<think>' + message.reasoning_content + '</think>' }}
        {%- endif %}
        {{- message.content }}
    {%- endgeneration %}
{%- endmacro %}
{%- set seen = namespace(users=0) %}
{%- for message in messages %}
    {%- if message.role == 'user' %}
        {%- set seen.users = seen.users + 1 %}
        {{- seen.users ~ '. ' ~ message.content }}
    {%- elif message.role == 'assistant' %}
        {{- 'A: ' + answer(message) }}
    {%- else %}
        {{- '(' + message.content + ')' }}
    {%- endif %}
    {%- if not loop.last %}{{ ' ' }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ ' A: ' }}{% endif %}
"""

G1_FILE = """\
{%- for message in messages %}
    {{- {'system': 'System', 'user': 'User', 'assistant': 'Assistant'}[message.role] }}: {{ '' -}}
    {{- message.content }}
    {%- if not loop.last %}{{ '\\n\\n' }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '\\n\\n' if messages else '' }}Assistant:{% endif %}
"""

TOOLS = [{"type": "function", "function": {"name": "clock", "description": "<时间>"}}]
CALL = {"name": "clock", "arguments": {"zone": "Asia/北京", "now": True}}
CHAT = [
    Message("system", " Be <brief>. "),
    Message("user", '一?\n\nAnd "two"?'),
    Message("assistant", "1。\n"),
    Message("user", "More & more"),
    Message("assistant", "2"),
]
TOOL_CHAT = [
    Message("user", "Time?"),
    Message("assistant", "", tool_calls=(CALL, CALL)),
    Message("tool", "12:00"),
    Message("assistant", "Noon."),
]
THOUGHTS = [
    Message("system", "s"),
    Message("user", "a"),
    Message("assistant", "b", thinking="hm"),
    Message("user", "c"),
    Message("assistant", "d", thinking=""),
    Message("assistant", "e"),
]
TEMPLATES = {
    "chatml": CHATML,
    "chatml-marked": CHATML_MARKED,
    "headers": HEADERS,
    "thinking-marked": THINKING_MARKED,
    "g1": G1_FILE,
}
CHATS = {"chat": CHAT, "tools": TOOL_CHAT, "thoughts": THOUGHTS, "user": CHAT[1:2]}


def template(tmp_path: Path, text: str, name: str = "chat_template.jinja") -> JinjaTemplate:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return JinjaTemplate(path)


def text_of(spans: Sequence[Span]) -> str:
    return "".join(span.text for span in spans)


def shown(spans: Sequence[Span]) -> str:
    return "".join(f"[{span.text}]" if span.trained else span.text for span in spans)


def plain(message: Message) -> dict[str, Any]:
    """A message as a user of transformers writes it."""
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.thinking is not None:
        turn["reasoning_content"] = message.thinking
    if message.tool_calls:
        turn["tool_calls"] = [{"type": "function", "function": c} for c in message.tool_calls]
    return turn


def by_transformers(
    source: str, messages: Sequence[Message], tools: list[dict[str, Any]] | None, **options: bool
) -> tuple[str, list[tuple[int, int]]]:
    """The text and the places of what is generated, as transformers has them."""
    texts, places = render_jinja_template(
        conversations=[[plain(message) for message in messages]],
        tools=tools,
        chat_template=source,
        bos_token="",
        eos_token="",
        **options,
    )
    return texts[0], places[0] if places else []


@pytest.mark.parametrize("tools", [None, TOOLS])
@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("name", ["chatml", "chatml-marked", "headers", "thinking-marked"])
def test_the_text_is_that_of_transformers(
    tmp_path: Path, name: str, chat: str, tools: list[dict[str, Any]] | None
) -> None:
    source, messages = TEMPLATES[name], CHATS[chat]
    spans = template(tmp_path, source).render(messages, tools or ())
    assert text_of(spans) == by_transformers(source, messages, tools)[0]


@pytest.mark.parametrize("chat", CHATS)
def test_marked_parts_are_those_of_transformers(tmp_path: Path, chat: str) -> None:
    messages = CHATS[chat]
    text, places = by_transformers(CHATML_MARKED, messages, None, return_assistant_tokens_mask=True)
    flags = [any(start <= i < end for start, end in places) for i in range(len(text))]
    spans = template(tmp_path, CHATML_MARKED).render(messages)
    assert [span.trained for span in spans for _ in span.text] == flags
    assert any(flags) == (chat != "user")


def test_marks_in_a_macro(tmp_path: Path) -> None:
    spans = template(tmp_path, THINKING_MARKED).render(THOUGHTS)
    assert shown(spans) == "(s) 1. a A: [<think>hm</think>b] 2. c A: [d] A: [e]"


def test_marks_within_marks(tmp_path: Path) -> None:
    source = "a{% generation %}b{% generation %}c{% endgeneration %}d{% endgeneration %}e"
    assert shown(template(tmp_path, source).render(CHAT)) == "a[bcd]e"


def test_answers_are_found_without_marks(tmp_path: Path) -> None:
    assert shown(template(tmp_path, CHATML).render(CHAT[1:])) == (
        '<|im_start|>user\n一?\n\nAnd "two"?<|im_end|>\n'
        "<|im_start|>assistant\n[1。\n<|im_end|>\n]"
        "<|im_start|>user\nMore & more<|im_end|>\n"
        "<|im_start|>assistant\n[2<|im_end|>\n]"
    )


@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("name", ["chatml", "headers"])
def test_found_answers_follow_a_generation_prompt(tmp_path: Path, name: str, chat: str) -> None:
    source, messages = TEMPLATES[name], CHATS[chat]
    spans = template(tmp_path, source).render(messages, TOOLS)
    text = ""
    turns = [i for i, message in enumerate(messages) if message.role == "assistant"]
    for span in spans:
        if span.trained:
            i = turns.pop(0)
            prompt = by_transformers(source, messages[:i], TOOLS, add_generation_prompt=True)
            whole = by_transformers(source, messages[: i + 1], TOOLS)
            assert (prompt[0], whole[0]) == (text, text + span.text)
        text += span.text
    assert not turns


def test_a_file_that_writes_g1_trains_what_g1_trains(tmp_path: Path) -> None:
    chat = [Message(message.role, message.content.strip()) for message in CHAT]
    chat[1] = Message("user", "one")
    assert template(tmp_path, G1_FILE).render(chat) == G1().render(chat)
    assert template(tmp_path, G1_FILE).render(chat[:-1]) == G1().render(chat[:-1])


def test_thinking_and_tools_reach_the_file(tmp_path: Path) -> None:
    source = (
        "{{ tools | tojson(sort_keys=true, separators=(',', ':')) }}"
        "{% for m in messages %}{{ m.thinking }}|{{ m.reasoning_content }}|"
        "{{ m.tool_calls | tojson }}{% endfor %}"
    )
    call = {"id": "1", "function": {"name": "f", "arguments": '{"x": "<é>"}'}}
    message = Message("assistant", "", "why", (call,))
    assert shown(template(tmp_path, source).render([message], [{"b": 1, "a": 2}])) == (
        '[{"a":2,"b":1}][why|why|[{"type": "function", "id": "1", '
        '"function": {"name": "f", "arguments": {"x": "<é>"}}}]]'
    )


def test_the_date(tmp_path: Path) -> None:
    text = text_of(template(tmp_path, "{{ strftime_now('%Y-%m') }}").render(CHAT))
    assert re.fullmatch(r"\d{4}-\d\d", text)


@pytest.mark.parametrize(
    "config",
    [
        {"chat_template": CHATML, "eos_token": "<|im_end|>"},
        {
            "chat_template": [
                {"name": "tool_use", "template": "{{ raise_exception('no') }}"},
                {"name": "default", "template": CHATML},
            ]
        },
    ],
)
def test_a_tokenizer_config(tmp_path: Path, config: dict[str, Any]) -> None:
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    opened = open_template(path)
    assert isinstance(opened, Template)
    assert opened.render(CHAT) == template(tmp_path, CHATML).render(CHAT)


def test_a_file_as_windows_saves_it(tmp_path: Path) -> None:
    expected = template(tmp_path, CHATML).render(CHAT)
    path = tmp_path / "windows.jinja"
    path.write_bytes(b"\xef\xbb\xbf" + CHATML.replace("\n", "\r\n").encode())
    assert JinjaTemplate(path).render(CHAT) == expected


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jinja", b"x\n{% for m in messages %}\n{{ m.content }", ":3: is no Jinja template"),
        ("a.jinja", b"x\n\n{% generation %}", ":3: is no Jinja template"),
        ("a.jinja", b"{{ x | nofilter }}", ":1: is no Jinja template (No filter named 'nofilter'"),
        ("a.jinja", b"x\xff", ": is not UTF-8 at byte 1"),
        ("a.json", b"{", ": is no JSON"),
        ("a.json", b"[]", ': holds no "chat_template"'),
        ("a.json", b'{"chat_template": [{"name": "x"}, 3]}', ': holds no "chat_template"'),
        ("a.json", b'{"chat_template": "\\n{{"}', " (chat_template):2: is no Jinja template"),
        ("none.jinja", None, ": cannot be read (No such file or directory)"),
        (".", None, ": cannot be read (Is a directory)"),
    ],
)
def test_a_file_that_is_no_template(
    tmp_path: Path, name: str, content: bytes | None, expected: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        open_template(path)
    assert str(caught.value).startswith(f"{path}{expected}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("\n{{ raise_exception('Roles must\n alternate') }}", ":2: the template refuses this "),
        (
            "{{ messages }}\n\n{{ mesages }}",
            ":3: the template fails (UndefinedError: 'mes",
        ),
        ("\n{% for m in mesages %}{% endfor %}", ":2: the template fails (UndefinedError: 'mes"),
        ("{{ mesages[0] }}", ":1: the template fails (UndefinedError: 'mesages' is undefined)"),
        ("{{ messages[0].name.first }}", ":1: the template fails (UndefinedError: 'dict object'"),
        ("x{{ 1 + messages[0].content }}", ":1: the template fails (TypeError: "),
        ("{{ 1 // 0 }}", ":1: the template fails (ZeroDivisionError: "),
        ("{{ ''.__class__.__mro__ }}", ":1: the template fails (SecurityError: "),
        ("{{ messages.append(1) }}", ":1: the template fails (SecurityError: "),
        ("{{ range(999999999) }}", ":1: the template fails (OverflowError: "),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", ":1: the template fails (Recursion"),
        ("{% include 'x' %}", ":1: the template fails (TypeError: no loader"),
        ("{{ messages[0].x | tojson }}", ":1: the template fails (TypeError: "),
        ("{# nothing #}", ": the template writes nothing"),
    ],
)
def test_a_template_that_fails(tmp_path: Path, source: str, expected: str) -> None:
    opened = template(tmp_path, source)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        opened.render(CHAT)
    assert str(caught.value).startswith(f"{tmp_path / 'chat_template.jinja'}{expected}")
    assert "\n" not in str(caught.value)


def test_what_nobody_set_may_be_asked_for(tmp_path: Path) -> None:
    source = (
        "{% if enable_thinking is defined and not enable_thinking %}x{% endif %}"
        "{% if date %}x{% endif %}{{ date or 'a' }}{{ date | default('b') }}{{ messages[0].name }}"
    )
    assert text_of(template(tmp_path, source).render(CHAT)) == "ab"


@pytest.mark.parametrize(
    "source",
    [
        # As templates of models that think do: only the last turn shows its thinking.
        "{% for m in messages %}{% if loop.last %}<think>{% endif %}{{ m.content }}{% endfor %}",
        "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}",
        # The generation prompt is not how the turn begins.
        CHATML.replace("assistant\n{% endif", "assistant\n<think>\n{% endif"),
    ],
)
def test_answers_that_cannot_be_found(tmp_path: Path, source: str) -> None:
    opened = template(tmp_path, source)
    with pytest.raises(
        ValueError, match=r"\.jinja: message 2 of .* put {% generation %} and {% end"
    ):
        opened.render(CHAT[1:])


def test_characters_that_stand_for_marks(tmp_path: Path) -> None:
    chat = [Message("user", "a\ufdd0"), Message("assistant", "b")]
    assert "a\ufdd0" in text_of(template(tmp_path, CHATML).render(chat))
    with pytest.raises(ValueError, match=r"U\+FDD0"):
        template(tmp_path, CHATML_MARKED).render(chat)


def test_half_a_surrogate_pair(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="half a surrogate pair"):
        template(tmp_path, "{{ tools | tojson }}").render(CHAT[:1], [{"name": "\ud800"}])


def test_turns_that_are_only_read(tmp_path: Path) -> None:
    messages = [*CHAT[:2], replace(CHAT[2], trained=False), *CHAT[3:]]
    found = template(tmp_path, G1_FILE).render(messages)
    assert [span.text for span in found if span.trained] == [" 2"]
    with pytest.raises(ValueError, match=r"weight 0.* leave \{% generation %\} out"):
        template(tmp_path, CHATML_MARKED).render(messages)
