"""Streaming with a model that says what the test wants and a tokenizer of single bytes."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from eyas.errors import UserError
from eyas.generation.sampling import GREEDY, Sampling
from eyas.generation.stream import generate, until_stop


class Bytes:
    """Token n is the byte n - 1; 0 ends a document."""

    def encode(self, text: str) -> list[int]:
        return [byte + 1 for byte in text.encode()]

    def token_bytes(self, token: int) -> bytes:
        return bytes([token - 1]) if token else b""


class Script(nn.Module):
    """Says the given tokens one after another, whatever it reads, and notes what it read.

    The state is how many of them it has said.
    """

    def __init__(self, tokens: list[int]) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.eye(257)[[*tokens, 0]])
        self.emb = nn.Embedding(257, 1)
        self.read: list[list[int]] = []

    def forward(self, tokens: Tensor, state: int | None = None) -> tuple[Tensor, int]:
        assert torch.is_inference_mode_enabled()
        self.read.append(tokens[0].tolist())
        said = state or 0
        # Only a forward that ends the prompt, or a token after it, says something.
        logits = self.table[said].expand(1, tokens.shape[1], 257)
        return logits, said + (tokens.shape[1] < 1024)


def pieces(
    said: bytes, stop: tuple[str, ...] = (), max_tokens: int = 100, prompt: str = "?"
) -> list[str]:
    model = Script(Bytes().encode("") + [byte + 1 for byte in said])
    return list(generate(model, Bytes(), prompt, GREEDY, max_tokens, stop, seed=0))


def test_streams_until_the_end_token() -> None:
    assert pieces(b"abc") == ["a", "b", "c"]


def test_max_tokens_and_no_forward_too_many() -> None:
    model = Script(Bytes().encode("abcdef"))
    text = generate(model, Bytes(), "xy", GREEDY, 3, (), seed=0)
    assert "".join(text) == "abc"
    assert model.read == [[121, 122], [98], [99]]
    assert pieces(b"abc", max_tokens=0) == []


def test_parted_characters_come_whole() -> None:
    assert pieces("a猫🦅b".encode()) == ["a", "猫", "🦅", "b"]


def test_an_incomplete_character_at_the_end_is_left_out() -> None:
    assert pieces("a猫".encode()[:-1]) == ["a"]


def test_bytes_that_are_no_text_are_marked() -> None:
    assert "".join(pieces(b"a\xffb")) == "a\ufffdb"


@pytest.mark.parametrize(
    ("said", "stop", "expected"),
    [
        ("abcdef", ("d",), "abc"),
        ("abcdef", ("cd",), "ab"),
        ("ababac!", ("abac",), "ab"),
        ("aab", ("ab",), "a"),
        ("hello\n\nUser: x", ("\n\n",), "hello"),
        ("hello\nyou", ("\n\n",), "hello\nyou"),
        ("hello\n", ("\n\n",), "hello\n"),
        ("abcd", ("bcd", "c"), "ab"),
        ("猫鸟鱼", ("鸟鱼",), "猫"),
        ("stop", ("stop",), ""),
        ("sto", ("stop",), "sto"),
    ],
)
def test_stop_texts(said: str, stop: tuple[str, ...], expected: str) -> None:
    assert "".join(pieces(said.encode(), stop)) == expected
    assert "".join(until_stop([said], stop)) == expected


def test_what_cannot_stop_is_not_held_back() -> None:
    consumed = 0

    def source() -> Iterator[str]:
        nonlocal consumed
        for character in "ab\ncd":
            consumed += 1
            yield character

    seen = [(piece, consumed) for piece in until_stop(source(), ("\n\n",))]
    assert seen == [("a", 1), ("b", 2), ("\nc", 4), ("d", 5)]


def test_nothing_is_computed_after_a_stop() -> None:
    model = Script(Bytes().encode("ab!cd"))
    assert "".join(generate(model, Bytes(), "?", GREEDY, 100, ("!",), seed=0)) == "ab"
    assert len(model.read) == 3


def test_empty_prompt_starts_from_the_end_token() -> None:
    model = Script(Bytes().encode("a"))
    list(generate(model, Bytes(), "", GREEDY, 1, (), seed=0))
    assert model.read == [[0]]


def test_long_prompts_are_read_in_slices_that_carry_the_state() -> None:
    model = Script(Bytes().encode("ok"))
    prompt = "x" * 2500
    assert "".join(generate(model, Bytes(), prompt, GREEDY, 9, (), seed=0)) == "ok"
    assert [len(read) for read in model.read[:4]] == [1024, 1024, 452, 1]


def test_same_seed_same_text() -> None:
    model = Script([])
    with torch.no_grad():
        model.table = nn.Parameter(torch.zeros(300, 257))

    def text(seed: int) -> str:
        free = Sampling(top_p=1.0)
        return "".join(generate(model, Bytes(), "?", free, 60, (), seed))

    assert text(1) == text(1)
    assert text(1) != text(2)


def test_frequency_penalty_counts_letters_and_not_digits() -> None:
    def said(choices: str) -> str:
        model = Script([])
        row = torch.full((257,), -100.0)
        row[Bytes().encode(choices)] = torch.tensor([1.0, 0.5])
        model.table = nn.Parameter(row.repeat(10, 1))
        often = Sampling(0.0, presence_penalty=0.0, frequency_penalty=1.0, penalty_decay=1.0)
        return "".join(generate(model, Bytes(), "?", often, 4, (), seed=0))

    assert said("ab") == "abab"
    assert said("12") == "1111"


def test_empty_stop_text_is_refused() -> None:
    with pytest.raises(UserError, match="empty"):
        generate(Script([]), Bytes(), "?", GREEDY, 1, ("",), seed=0)


def test_prompts_that_the_model_cannot_read() -> None:
    with pytest.raises(UserError, match="the prompt is not UTF-8 at character 2"):
        generate(Script([]), Bytes(), "a\udcff", GREEDY, 1, (), seed=0)
    model = Script([])
    model.emb = nn.Embedding(99, 1)
    with pytest.raises(UserError, match=r"token 123, outside the model's vocabulary of 99; give"):
        generate(model, Bytes(), "az", GREEDY, 1, (), seed=0)
    list(generate(model, Bytes(), "a", GREEDY, 1, (), seed=0))


def test_logits_that_are_not_finite() -> None:
    model = Script([])
    model.table = nn.Parameter(torch.full((9, 257), torch.nan))
    with pytest.raises(UserError, match="not finite"):
        list(generate(model, Bytes(), "?", GREEDY, 1, (), seed=0))
