"""What clients read of a model that writes a text that is known: the characters of several bytes,
each byte a token of its own, stop texts that tokens part, and their logprobs."""

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from eyas.data.template import G1
from eyas.data.tokenizer import WorldBytes
from eyas.models import LayerState, State
from eyas.serving.forward import Forward
from eyas.serving.served import Served

TEXT = "猫🦅你好!\n再见👩‍👩‍👧 end"
COLON = ord(":") + 1
FREE = {"presence_penalty": 0.0, "frequency_penalty": 0.0, "temperature": 0.0}
TALK = [{"role": "user", "content": "x"}]


class Script(Forward):
    """Writes a text after the last colon that it has read, a byte a token, and ends."""

    def __init__(self, text: bytes) -> None:
        self.model: Any = SimpleNamespace(vocab_size=257)
        self._text = text

    def hidden(self, tokens: Tensor, state: State, adapters: Sequence[str]) -> tuple[Tensor, State]:
        assert len(adapters) == len(tokens)
        count, out = state[0].ffn_input, []
        for token in tokens.unbind(1):
            count = torch.where(token[:, None] == COLON, 0, count + 1)
            out.append(count)
        hidden = torch.stack(out, 1)
        return hidden, (LayerState(count, state[0].wkv, count),)

    def logits(self, hidden: Tensor) -> Tensor:
        logits = torch.zeros(*hidden.shape[:2], 257)
        said = [self._text[i] + 1 if i < len(self._text) else 0 for i in hidden.flatten().long()]
        places = torch.tensor(said, dtype=torch.long).view(*hidden.shape[:2], 1)
        return logits.scatter(-1, places, 30.0)


def scripted(name: str, text: bytes) -> Served:
    begun = torch.full((1, 1), 1000.0)
    initial = (LayerState(begun, torch.zeros(1, 1, 1, 1), begun),)
    return Served(name, Script(text), initial, WorldBytes(), G1(), name)


@pytest.fixture(scope="module")
def client(start) -> Iterator[Any]:
    texts = {
        "script": TEXT.encode(),
        "thinks": f" <think>\n想{TEXT}\n</think>\n{TEXT}".encode(),
        "broken": b"a\xffb\xe7\x8c",
    }
    with start({name: scripted(name, text) for name, text in texts.items()}) as running:
        yield running.client()


def spoken(stream: Any) -> list[str]:
    """The pieces of a stream; a cut character would not be one."""
    pieces = [chunk.choices[0] for chunk in stream if chunk.choices]
    return [p.text if hasattr(p, "text") else p.delta.content or "" for p in pieces]


def test_characters_are_whole(client) -> None:
    settings = {"model": "script", "prompt": "a:", "max_tokens": 200, **FREE}
    assert client.completions.create(**settings).choices[0].text == TEXT
    pieces = spoken(client.completions.create(**settings, stream=True))
    assert "".join(pieces) == TEXT
    assert len([piece for piece in pieces if piece]) == len(TEXT)  # each as soon as it is there
    chat = {"model": "script", "messages": TALK, "max_tokens": 200, **FREE}
    assert client.chat.completions.create(**chat).choices[0].message.content == TEXT
    assert "".join(spoken(client.chat.completions.create(**chat, stream=True))) == TEXT


@pytest.mark.parametrize("tokens", range(8))
def test_a_character_that_is_cut_by_the_limit_is_left_out(client, tokens: int) -> None:
    settings = {"model": "script", "prompt": "a:", "max_tokens": tokens, **FREE}
    (choice,) = client.completions.create(**settings).choices
    assert choice.text == TEXT.encode()[:tokens].decode(errors="ignore")
    assert choice.finish_reason == "length"
    assert "".join(spoken(client.completions.create(**settings, stream=True))) == choice.text


def test_bytes_that_are_no_text(client) -> None:
    settings = {"model": "broken", "prompt": "a:", **FREE, "logprobs": 0}
    (choice,) = client.completions.create(**settings).choices
    assert (choice.text, choice.finish_reason) == ("a\ufffdb", "stop")
    assert choice.logprobs.tokens[1] == "bytes:\\xff"


@pytest.mark.parametrize("stop", ["你好", "🦅", "!\n再", "end", "\u200d", ["zz", "好"], "猫"])
def test_stop_texts_are_found_wherever_tokens_part_them(client, stop: Any) -> None:
    first = min(TEXT.find(one) for one in ([stop] if isinstance(stop, str) else stop[1:]))
    settings = {"prompt": "a:", "model": "script", "stop": stop, **FREE}
    (choice,) = client.completions.create(**settings, logprobs=0).choices
    assert (choice.text, choice.finish_reason) == (TEXT[:first], "stop")
    assert "".join(spoken(client.completions.create(**settings, stream=True))) == TEXT[:first]
    settings = {"messages": TALK, "model": "script", "stop": stop, **FREE}
    (choice,) = client.chat.completions.create(**settings, logprobs=True).choices
    assert choice.message.content == TEXT[:first]
    told = bytes(byte for token in choice.logprobs.content for byte in token.bytes)
    assert told.decode() == TEXT[:first]


def test_thinking_and_answer(client) -> None:
    settings = {"model": "thinks", "messages": TALK, **FREE}
    whole = client.chat.completions.create(**settings).choices[0].message
    assert (whole.reasoning_content, whole.content) == (f"想{TEXT}", TEXT)
    deltas = [c.choices[0].delta for c in client.chat.completions.create(**settings, stream=True)]
    thought = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert (thought, "".join(delta.content or "" for delta in deltas)) == (f"想{TEXT}", TEXT)


def test_offsets_count_characters(client) -> None:
    settings = {"model": "script", "prompt": "鱼:", "logprobs": 1, **FREE}
    told = client.completions.create(**settings, echo=True).choices[0]
    assert told.text == "鱼:" + TEXT
    data, tokens = told.text.encode(), told.logprobs
    starts = [len(data[:i].decode(errors="ignore")) for i in range(len(data))]
    assert tokens.text_offset == starts
    assert (tokens.token_logprobs[0], tokens.top_logprobs[0]) == (None, None)
    assert all(value <= 0 for value in tokens.token_logprobs[1:])
    chunks = client.completions.create(**settings, echo=True, stream=True)
    parts = [chunk.choices[0].logprobs for chunk in chunks if chunk.choices[0].logprobs]
    assert [offset for part in parts for offset in part.text_offset] == starts
    plain = client.completions.create(**settings).choices[0].logprobs
    assert plain.text_offset == [start - 2 for start in starts[4:]]


def test_what_was_answered_can_be_sent_back(client) -> None:
    """As people do it: the message itself, or all its fields, with those that are null."""
    settings = {"model": "script", **FREE}
    message = client.chat.completions.create(messages=TALK, **settings).choices[0].message
    for sent in (message, message.model_dump()):
        turns = [*TALK, sent, {"role": "user", "content": "y", "name": None}]
        again = client.chat.completions.create(messages=turns, stop=None, **settings)
        assert again.choices[0].message.content == TEXT


def test_bias_and_nothing_to_say(client) -> None:
    settings = {"model": "script", "prompt": "a:", **FREE}
    cat = TEXT.encode()[0] + 1
    told = client.completions.create(
        **settings, logit_bias={str(cat): -100, "98": 10}, max_tokens=1
    )
    assert told.choices[0].text == "a"
    none = client.completions.create(**settings, max_tokens=0, echo=True, logprobs=0)
    assert (none.choices[0].text, none.choices[0].finish_reason) == ("a:", "length")
    assert none.usage.completion_tokens == 0
    assert none.choices[0].logprobs.tokens == ["a", ":"]
