"""Prompts are the training template's text up to the answer; its ends are what it trains there."""

from pathlib import Path

import pytest

from eyas.chat.conversation import asked
from eyas.chat.wording import Thinking, prompt_of, spoken, stops_of, text_of
from eyas.data.template import G1, Message, Template, open_template
from eyas.errors import UserError

TALK = [
    Message("system", "Be\n\nbrief."),
    Message("user", "你好"),
    Message("assistant", "Hi.\r\n\r\nMe", "so\n\nso"),
]
SYSTEM = "System: Be\nbrief.\n\nUser: 你好\n\nAssistant: <think>\nso\nso\n</think>\nHi.\nMe\n\n"
TURN = "{{- '<|im_start|>' + message.role + '\n' + "
CHATML = f"""{{%- for message in messages %}}
{TURN} message.content + '<|im_end|>' }}}}
{{% endfor %}}
{{%- if add_generation_prompt %}}{{{{ '<|im_start|>assistant\n' }}}}{{% endif %}}
"""
MARKED = """{%- for message in messages %}
{{- message.role + ': ' }}
{%- if message.role == 'assistant' %}{% generation %}{{ message.content }}{% endgeneration %}
{%- else %}{{ message.content }}{% endif %}
{{- '\n' }}
{%- endfor %}"""


@pytest.fixture
def written(tmp_path: Path):
    def template(text: str) -> Template:
        path = tmp_path / "t.jinja"
        path.write_text(text)
        return open_template(path)

    return template


@pytest.mark.parametrize(
    ("thinking", "end"),
    # Of RWKV7-G1x-templates.txt; it leaves the > of the third to the model.
    [
        ("auto", "User: 2+2?\n\nAssistant:"),
        ("on", "User: 2+2?\n\nAssistant: <think"),
        ("off", "User: 2+2?\n\nAssistant: <think>\n</think>"),
        ("short", "User: 2+2? (think a bit)\n\nAssistant: <think"),
        ("long", "User: 2+2? (think a lot)\n\nAssistant: <think"),
    ],
)
def test_g1_prompts(thinking: Thinking, end: str) -> None:
    assert prompt_of(G1(), [*TALK, asked("2+2?", thinking)], thinking) == SYSTEM + end


def test_g1_ends_with_a_blank_line() -> None:
    assert stops_of(G1()) == ("\n\n",)


@pytest.mark.parametrize(
    ("said", "content", "thinking"),
    [
        (" Hi. \n", "Hi.", None),
        (" <think>\nso\n</think>\nHi.", "Hi.", "so"),
        (" <think>\n</think>\nHi.", "Hi.", ""),
        (" <think>\nso", "<think>\nso", None),
        (" a <think>b</think>", "a <think>b</think>", None),
    ],
)
def test_what_was_said_is_written_again_as_it_was(
    said: str, content: str, thinking: str | None
) -> None:
    message = spoken(G1(), said)
    assert (message.content, message.thinking) == (content, thinking)
    assert text_of(G1(), [Message("user", "q"), message]) == f"User: q\n\nAssistant:{said.rstrip()}"


def test_templates_of_the_users_own(written) -> None:
    chatml = written(CHATML)
    talk = [Message("user", "q"), Message("assistant", "a"), Message("user", "r")]
    before = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n"
    assert text_of(chatml, talk[:2]) == before
    expected = before + "<|im_start|>user\nr<|im_end|>\n<|im_start|>assistant\n"
    assert prompt_of(chatml, talk, "auto") == expected
    assert stops_of(chatml) == ("<|im_end|>",)
    marked = written(MARKED)
    assert prompt_of(marked, talk, "auto") == "user: q\nassistant: a\nuser: r\nassistant: "
    assert stops_of(marked) == ("\nuser:",)


def test_templates_that_cannot(written) -> None:
    with pytest.raises(UserError, match="think on: the modes of thinking are those of G1's"):
        prompt_of(written(CHATML), [Message("user", "q")], "on")
    refusing = written("{{ raise_exception('no system, please') }}")
    with pytest.raises(UserError, match="refuses this conversation: no system, please"):
        prompt_of(refusing, [Message("user", "q")], "auto")
    untrained = written("{% generation %}{% endgeneration %}{{ messages[0].content }}")
    with pytest.raises(UserError, match="trains nothing of an answer"):
        stops_of(untrained)
