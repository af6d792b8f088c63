"""Scoring data: each number against a slow loop that is written from its definition."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from documents import CHAT, jsonl
from weights import write_model

import eyas
from eyas.data import Document, ReadConfig, Span, Tokenizer, tokenizer_for
from eyas.demo.tasks import FOLDER, load_task
from eyas.errors import UserError
from eyas.evaluation import Bounds, open_work
from eyas.evaluation.answers import Question, exact_match, questions_of
from eyas.evaluation.choices import continued, holds_choices, read_choices
from eyas.generation.sampling import GREEDY
from eyas.generation.stream import generate
from eyas.models import Model

BYTES = tokenizer_for(256, None, "bytes")
WORLD_BYTES = tokenizer_for(257, None, None)
_LONGEST = 80


@pytest.fixture(scope="module")
def base() -> Model:
    return eyas.load(FOLDER / "base.pth")


@torch.no_grad()
def log_probs(model: Model, tokens: list[int]) -> list[float]:
    """Of each token after the first, in float64."""
    logits, _ = model(torch.tensor([tokens]))
    found = logits[0].double().log_softmax(-1)
    return [float(found[i, token]) for i, token in enumerate(tokens[1:])]


def test_loss_perplexity_and_bits_a_byte(tmp_path: Path) -> None:
    model = eyas.load(write_model(tmp_path / "m.pth"))
    data = jsonl(tmp_path, CHAT, {"question": "äö", "answer": "ü"}, {"text": "plain"})
    found = open_work(data, BYTES, 256, bounds=Bounds(2, 7), answers=False).measures(model)
    documents = [("User: a\n\nAssistant:", " b"), ("User: äö\n\nAssistant:", " ü"), ("", "plain")]
    sums = {"": [0.0, 0, 0], "_all": [0.0, 0, 0]}
    for read, trained in documents:
        tokens = [*(read + trained).encode(), 0]
        for i, nats in enumerate(log_probs(model, tokens), start=1):
            for end in ["_all", *([""] if i >= len(read.encode()) else [])]:
                sums[end][0] -= nats
                sums[end][1] += 1
                sums[end][2] += tokens[i] != 0
    for end, (nats, tokens, content) in sums.items():
        assert found[f"loss{end}"].value == pytest.approx(nats / tokens, rel=1e-5)
        assert found[f"perplexity{end}"].value == pytest.approx(math.exp(nats / tokens), rel=1e-5)
        assert found[f"bits_per_byte{end}"].value == pytest.approx(
            nats / math.log(2) / content, rel=1e-5
        )
    assert len(found) == 6


def test_all_is_told_once_where_everything_is_trained(tmp_path: Path) -> None:
    model = eyas.load(write_model(tmp_path / "m.pth"))
    data = jsonl(tmp_path, {"text": "one"}, {"text": "two"})
    assert set(open_work(data, BYTES, 256).measures(model)) == {
        "loss", "perplexity", "bits_per_byte",
    }  # fmt: skip
    asked = ReadConfig(mask="answers")
    data = jsonl(tmp_path, {"text": "no answer"}, {"text": "and none"})
    assert set(open_work(data, BYTES, 256, asked).measures(model)) == {
        "loss_all", "perplexity_all", "bits_per_byte_all",
    }  # fmt: skip


def test_tokens_alone(tmp_path: Path) -> None:
    model = eyas.load(write_model(tmp_path / "m.pth"))
    np.save(tmp_path / "t.npy", np.array([5, 6, 7, 0, 8, 9, 0], np.uint16))
    found = open_work(tmp_path / "t.npy", BYTES, 256).measures(model)
    expected = [*log_probs(model, [5, 6, 7, 0]), *log_probs(model, [8, 9, 0])]
    assert found["loss"].value == pytest.approx(-sum(expected) / 5, rel=1e-5)


def test_other_templates(tmp_path: Path) -> None:
    (tmp_path / "t.jinja").write_text(
        "{%- for m in messages %}[{{ m.role }}]{{ m.content }}[end]{% endfor %}"
        "{%- if add_generation_prompt %}[assistant]{% endif %}"
    )
    reading = ReadConfig(template=tmp_path / "t.jinja")
    asked = {"question": "a", "answer": "b"}
    work = open_work(jsonl(tmp_path, asked, asked), BYTES, 256, reading, stop=("x",))
    assert work.questions[0] == Question("[user]a[end][assistant]", "b", work.questions[0].place)
    assert work.stop == ("x", "[end]")
    data = jsonl(tmp_path, {"question": "a", "choices": ["b", "c"], "answer": 0})
    (choice,) = open_work(data, BYTES, 256, reading).choices
    assert (choice.prompt, choice.choices) == ("[user]a[end][assistant]", ("b", "c"))
    (choice,) = open_work(data, BYTES, 256).choices
    assert (choice.prompt, choice.choices) == ("User: a\n\nAssistant:", (" b", " c"))


def test_exact_match_is_that_of_decoding_one_by_one(base: Model) -> None:
    prompts = [f"User: {item.question}\n\nAssistant:" for item in load_task("json").items(2)]
    prompts += ["User: say hello\n\nAssistant:", "User: hello hello\n\nAssistant:"]
    questions, right = [], 0
    for number, prompt in enumerate(prompts):
        pieces = generate(base, WORLD_BYTES, prompt, GREEDY, _LONGEST, ("\n\n",), 0)
        text = "".join(pieces)
        ended = len(text.encode()) < _LONGEST - 2
        answer = text.strip() if number % 3 else f"{text.strip()}x"
        questions.append(Question(prompt, answer, ""))
        right += ended and number % 3 > 0
    assert 0 < right < len(prompts)
    for bounds in (Bounds(2, 5), Bounds()):
        found = exact_match(base, WORLD_BYTES, questions, ("\n\n",), bounds)
        assert found.value == pytest.approx(right / len(prompts))


def test_which_documents_ask() -> None:
    def asked(*spans: Span) -> list[Question]:
        return list(questions_of([Document(spans, "place")]))

    read, answer = Span("User: q\n\nAssistant:", False), Span(" r", True)
    assert asked(read, answer) == [Question("User: q\n\nAssistant:", "r", "place")]
    earlier = (read, Span(" s\n\n", True), read, answer)
    assert asked(*earlier) == [
        Question("User: q\n\nAssistant: s\n\nUser: q\n\nAssistant:", "r", "place")
    ]
    for none in [(), (answer,), (read,), (answer, read), (read, Span(" ", True))]:
        assert asked(*none) == []


CHOICES = [
    {"question": "ab", "choices": ["one", "two", "three"], "answer": 2},
    {"prompt": "cd", "choices": ["one", "two"], "answer": "two"},
    {"text": "ef ", "choices": ["x", "yyyy"], "answer": "A"},
    {"text": "gh", "choices": ["A", "B"], "answer": "b"},
]


def test_choices(tmp_path: Path) -> None:
    model = eyas.load(write_model(tmp_path / "m.pth"))
    data = jsonl(tmp_path, *CHOICES)
    work = open_work(data, BYTES, 256, bounds=Bounds(3, 4))
    assert work.documents == 4
    plain, per_byte = 0, 0
    for record, right in zip(CHOICES, [2, 1, 0, 1], strict=True):
        asked = record.get("question") or record.get("prompt")
        prompt = f"User: {asked}\n\nAssistant:" if asked else str(record["text"])
        totals = []
        for choice in record["choices"]:
            rest = f" {choice}" if asked else choice
            found = log_probs(model, list((prompt + rest).encode()))[-len(rest) :]
            totals.append((sum(found), sum(found) / len(rest)))
        plain += max(range(len(totals)), key=lambda i: totals[i][0]) == right
        per_byte += max(range(len(totals)), key=lambda i: totals[i][1]) == right
    found = work.measures(model)
    assert found["accuracy"].value == plain / 4
    assert found["accuracy_per_byte"].value == per_byte / 4


def test_choices_in_a_table(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"question": "a", "choices": ["b", "c"], "answer": 1}] * 3
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "c.parquet")
    assert holds_choices(tmp_path / "c.parquet")
    (first, *rest) = read_choices(tmp_path / "c.parquet", 2)
    assert (first.choices, first.right, len(rest)) == ((" b", " c"), 1, 1)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"question": "a", "choices": ["b"], "answer": 0}, "has one choice alone"),
        ({"question": "a", "choices": ["b", "c"], "answer": 2}, "none of its 2 choices"),
        ({"question": "a", "choices": ["b", "c"], "answer": True}, "none of its 2 choices"),
        ({"question": "a", "choices": ["b", "c"], "answer": "d e"}, "none of its 2 choices"),
        ({"question": "a", "choices": ["b", "c"]}, "none of its 2 choices"),
        ({"question": "a", "choices": ["b", 3], "answer": 0}, "choice 1 is a number"),
        ({"question": "a", "choices": "b", "answer": 0}, '"choices" is a string, not a list'),
        ({"choices": ["b", "c"], "answer": 0}, 'has neither "question" nor "text"'),
        ({"question": "a", "answer": "b"}, 'has no "choices", as the first record has'),
        (["b"], 'has no "choices"'),
    ],
)
def test_choices_that_are_wrong(record: object, said: str, tmp_path: Path) -> None:
    data = jsonl(tmp_path, CHOICES[0], record)
    with pytest.raises(UserError) as caught:
        read_choices(data)
    assert str(caught.value).startswith(f"{data}:2: ")
    assert said in str(caught.value)


def test_what_has_no_choices(tmp_path: Path) -> None:
    assert not holds_choices(jsonl(tmp_path, CHAT))
    assert not holds_choices(tmp_path)
    assert not holds_choices(tmp_path / "nothing.jsonl")


class _Pairs:
    """Two equal letters are one token."""

    name, vocab_size = "pairs", 256

    def encode(self, text: str) -> list[int]:
        found: list[int] = []
        for letter in text.encode():
            doubled = bool(found) and found[-1] == letter
            found[len(found) - doubled :] = [letter + 100 * doubled]
        return found

    def encode_bytes(self, data: bytes) -> np.ndarray:
        return np.array(self.encode(data.decode()), np.int32)

    def token_bytes(self, token: int) -> bytes:
        return bytes([token])


def test_where_a_continuation_begins() -> None:
    pairs: Tokenizer = _Pairs()
    a, b = ord("a"), ord("b")
    assert continued(BYTES, "ab", "ba") == ([a, b, b, a], 2)
    assert continued(pairs, "ab", "ba") == ([a, b + 100, a], 1)  # the pair is part of the rest
    assert continued(pairs, "", "ab") == ([0, a, b], 1)
    assert continued(pairs, "a", "ab") == ([0, a + 100, b], 1)


def test_the_first_records_only(tmp_path: Path) -> None:
    data = jsonl(tmp_path, *[CHAT] * 5)
    work = open_work(data, BYTES, 256, limit=2)
    assert (work.documents, len(work.questions)) == (2, 2)
    assert open_work(jsonl(tmp_path, *CHOICES), BYTES, 256, limit=3).documents == 3


def test_nothing_to_predict(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", np.array([0], np.uint16))
    with pytest.raises(UserError, match=r"holds no document of two tokens"):
        open_work(tmp_path / "t.npy", BYTES, 256)
    (tmp_path / "bad.jsonl").write_text(json.dumps({"what": 1}) + "\n")
    with pytest.raises(UserError, match=r"is no record that eyas knows"):
        open_work(tmp_path / "bad.jsonl", BYTES, 256)
