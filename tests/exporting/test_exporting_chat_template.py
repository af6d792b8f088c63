"""The template in Jinja against the one that models are trained with."""

import jinja2
import pytest

from eyas.data.template import Message, ask, render
from eyas.exporting.chat_template import CHAT_TEMPLATE

TALKS = [
    [("user", "hi")],
    [("system", "You are\r\n\r\n\r\nbrief. "), ("user", " a\n\n\nb\n")],
    [("user", "x"), ("assistant", ""), ("user", "{{ y }}"), ("assistant", "<think>\nz\n</think>")],
    [("user", "call"), ("assistant", "f"), ("tool", '{"a": 1}\n\n{"b": 2}')],
]


def rendered(talk: list[tuple[str, str]], **more: bool) -> str:
    messages = [{"role": role, "content": content} for role, content in talk]
    template = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(CHAT_TEMPLATE)
    return template.render(messages=messages, add_generation_prompt=False, **more)


@pytest.mark.parametrize("talk", TALKS)
def test_as_models_are_trained(talk: list[tuple[str, str]]) -> None:
    messages = [Message(role, content) for role, content in talk]
    assert rendered(talk) == "".join(span.text for span in render(messages))


@pytest.mark.parametrize("thinking", [True, False])
def test_thinking(thinking: bool) -> None:
    template = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(CHAT_TEMPLATE)
    messages = [{"role": "user", "content": "why?"}]
    prompt = template.render(
        messages=messages, add_generation_prompt=True, enable_thinking=thinking
    )
    assert prompt == ask("why?", thinking)
