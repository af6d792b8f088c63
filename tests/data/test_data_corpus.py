"""Tokenization, trained tokens, summaries and splits."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer as Library
from tokenizers import models, normalizers, pre_tokenizers, trainers

from eyas.data import binidx
from eyas.data.corpus import (
    Corpus,
    Summary,
    load_corpus,
    select,
    split_share,
    summarize,
)
from eyas.data.huggingface import HuggingFace
from eyas.data.preview import colored
from eyas.data.reading import ReadConfig, is_tokens, read_documents
from eyas.data.template import Mask
from eyas.data.tokenizer import Bytes, Ids, Tokenizer, WorldBytes, decode, tokenizer_of_tokens
from eyas.data.world import World, open_world
from eyas.errors import UserError

CHATS = [
    [("user", "a"), ("assistant", "b")],
    [("system", "春眠不觉晓"), ("user", "処 x\n\ny"), ("assistant", " 花\n落 "), ("user", "😀")],
    [("user", "1 + 1?"), ("assistant", "2"), ("user", "naïve?"), ("assistant", "café…")],
    [("user", "nobody answers")],
]


def load(path: Path, tokenizer: Tokenizer, vocab_size: int, mask: Mask) -> Corpus:
    return load_corpus([path], tokenizer, vocab_size, ReadConfig(mask=mask))


def jsonl(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def chats(tmp_path: Path) -> Path:
    turns = [[{"role": role, "content": text} for role, text in chat] for chat in CHATS]
    return jsonl(tmp_path / "chats.jsonl", *({"messages": messages} for messages in turns))


def token_file(prefix: Path, documents: list[list[int]], dtype: Any = np.uint16) -> Path:
    binidx.write(prefix, documents, dtype)
    return prefix


def document(corpus: Corpus, at: int) -> tuple[list[int], list[bool]]:
    part = slice(corpus.offsets[at], corpus.offsets[at + 1])
    return corpus.tokens[part].tolist(), corpus.trained[part].tolist()


def small(lengths: list[int], trained: list[bool] | None = None) -> Corpus:
    """Documents of these lengths; the tokens count up from 1."""
    total = sum(lengths)
    return Corpus(
        np.arange(1, total + 1, dtype=np.uint16),
        np.array(trained if trained is not None else [True] * total),
        np.cumsum([0, *lengths]),
        [f"d:{number}" for number in range(1, len(lengths) + 1)],
    )


def expected_flags(path: Path, mask: Mask, tokenizer: Tokenizer) -> list[list[bool]]:
    """Byte by byte: a token is trained if one of its bytes is."""
    flags = []
    for each in read_documents(path, ReadConfig(mask=mask)):
        marks = [span.trained for span in each.spans for _ in span.text.encode()]
        at, of_document = 0, []
        for token in tokenizer.encode("".join(span.text for span in each.spans)):
            width = len(tokenizer.token_bytes(token))
            of_document.append(any(marks[at : at + width]))
            at += width
        assert at == len(marks)
        flags.append([*of_document, each.spans[-1].trained])
    return flags


def test_a_conversation_byte_by_byte(tmp_path: Path) -> None:
    tokenizer = WorldBytes()
    corpus = load(chats(tmp_path), tokenizer, 257, "auto")
    tokens, trained = document(corpus, 0)
    assert tokens == [byte + 1 for byte in b"User: a\n\nAssistant: b"] + [0]
    assert trained == [False] * 19 + [True] * 3
    assert not any(document(corpus, 3)[1])
    assert document(corpus, 3)[0][-1] == 0
    assert list(corpus.places) == [f"chats.jsonl:{line}" for line in (1, 2, 3, 4)]
    assert corpus.tokens.dtype == np.uint16
    assert corpus.trained.dtype == np.bool_
    assert len(corpus) == 4


@pytest.mark.parametrize("mask", ["auto", "all", "answers"])
@pytest.mark.parametrize("tokenizer", [World(), WorldBytes(), Bytes()], ids=lambda t: t.name)
def test_trained_tokens_are_those_with_a_trained_byte(
    tmp_path: Path, tokenizer: Tokenizer, mask: Mask
) -> None:
    path = chats(tmp_path)
    corpus = load(path, tokenizer, tokenizer.vocab_size, mask)
    expected = expected_flags(path, mask, tokenizer)
    assert [document(corpus, at)[1] for at in range(len(corpus))] == expected
    for at, each in enumerate(read_documents(path, ReadConfig(mask=mask))):
        tokens, _ = document(corpus, at)
        assert decode(tokenizer, tokens) == "".join(span.text for span in each.spans)


def test_tokens_on_the_border_are_trained(tmp_path: Path) -> None:
    vocabulary = tmp_path / "v.txt"
    bytes_lines = [f"{byte + 1} {bytes([byte])!r} 1\n" for byte in range(256)]
    merged = "300 'Assistant: b' 12\n301 '\\n\\nUs' 4\n302 'z\\n\\n' 3\n"
    vocabulary.write_text("".join([*bytes_lines, merged]))
    text = "Assistant: bx\n\nUser: z\n\nAssistant: y"
    path = jsonl(tmp_path / "d.jsonl", {"text": text})
    corpus = load(path, open_world(vocabulary), 303, "answers")
    tokens, trained = document(corpus, 0)
    assert tokens[:3] == [300, ord("x") + 1, 301]
    assert trained[:3] == [True, True, True]
    assert tokens[7:8] == [302]
    assert trained[3:18] == [False] * 15
    assert trained[18:] == [True] * 3


def test_a_tokenizer_whose_pieces_differ_from_the_text(tmp_path: Path) -> None:
    library = Library(models.BPE())
    library.normalizer = normalizers.NFKC()
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=270, special_tokens=["<e>"], initial_alphabet=alphabet, show_progress=False
    )
    library.train_from_iterator(["Assistant: User: "] * 9, trainer)
    library.save(str(tmp_path / "tokenizer.json"))
    tokenizer = HuggingFace(tmp_path / "tokenizer.json")
    # Seven characters become eleven before the answer, and three within it.
    text = "User: ﬃﬃ\n\nAssistant: ﬁ\n\nUser: ﬀ"
    path = jsonl(tmp_path / "d.jsonl", {"text": text})
    corpus = load(path, tokenizer, 270, "answers")
    tokens, trained = document(corpus, 0)
    kept = [token for token, flag in zip(tokens, trained, strict=True) if flag]
    assert decode(tokenizer, kept) == " fi\n\n"
    assert tokens[:-1] == tokenizer.encode(text)
    assert (tokens[-1], trained[-1]) == (0, False)


def test_wide_vocabularies_take_wide_tokens(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "d.jsonl", {"text": "a"})
    assert load(path, WorldBytes(), 70000, "auto").tokens.dtype == np.uint16
    vocabulary = tmp_path / "wide.txt"
    vocabulary.write_text("65536 'a' 1\n")
    corpus = load(path, open_world(vocabulary), 70000, "auto")
    assert corpus.tokens.dtype == np.int32
    assert corpus.tokens.tolist() == [65536, 0]


def test_tokens_outside_the_vocabulary(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "d.jsonl", {"text": "a"}, {"text": "b你"})
    problem = r"d\.jsonl:2: the tokenizer 'world' gives token 10464, .*vocabulary of 257; give"
    with pytest.raises(UserError, match=problem):
        load(path, World(), 257, "auto")


def test_what_a_vocabulary_cannot_hold(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "d.jsonl", {"text": "a\0b"})
    assert load(path, WorldBytes(), 257, "auto").tokens.tolist() == [98, 1, 99, 0]
    with pytest.raises(UserError, match=r"d\.jsonl:1: the text holds what the tokenizer 'bytes'"):
        load(path, Bytes(), 256, "auto")
    vocabulary = tmp_path / "letters.txt"
    vocabulary.write_text("1 'a' 1\n")
    with pytest.raises(UserError, match=r"d\.jsonl:1: letters\.txt has no token for the byte 0x0"):
        load(path, open_world(vocabulary), 256, "auto")


def test_mistakes_in_the_data_come_through(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load(tmp_path / "none", WorldBytes(), 257, "auto")
    (tmp_path / "d.jsonl").write_text('{"text": "a"}\n{\n')
    with pytest.raises(UserError, match=r"d\.jsonl:2: bad JSON"):
        load(tmp_path / "d.jsonl", WorldBytes(), 257, "auto")


@pytest.mark.parametrize("name", ["t", "t.bin", "t.idx"])
def test_token_files(tmp_path: Path, name: str) -> None:
    token_file(tmp_path / "t", [[5, 6, 0], [7, 8], [9]])
    corpus = load(tmp_path / name, WorldBytes(), 257, "auto")
    assert [document(corpus, at)[0] for at in range(3)] == [[5, 6, 0], [7, 8], [9]]
    assert corpus.trained.all()
    assert list(corpus.places) == [f"t.bin document {number}" for number in (1, 2, 3)]
    assert list(corpus.places[1:]) == ["t.bin document 2", "t.bin document 3"]
    assert isinstance(corpus.tokens, np.memmap)


@pytest.mark.parametrize(
    ("dtype", "vocab_size", "kept"),
    [
        (np.uint8, 257, np.uint16),
        (np.int64, 257, np.uint16),
        (np.int64, 65537, np.int32),
        (np.int32, 257, np.int32),
    ],
)
def test_token_files_of_other_widths(
    tmp_path: Path, dtype: Any, vocab_size: int, kept: Any
) -> None:
    path = token_file(tmp_path / "t", [[5, 6, 0]], dtype)
    corpus = load(path, WorldBytes(), vocab_size, "all")
    assert corpus.tokens.dtype == kept
    assert corpus.tokens.tolist() == [5, 6, 0]


@pytest.mark.parametrize("token", [257, -1])
def test_token_files_outside_the_vocabulary(tmp_path: Path, token: int) -> None:
    path = token_file(tmp_path / "t", [[5, 0], [6, token, 0], [0]], np.int32)
    problem = rf"t\.bin document 2: token {token} is outside the model's vocabulary of 257; make"
    with pytest.raises(UserError, match=problem):
        load(path, WorldBytes(), 257, "auto")


def test_answers_are_found_in_the_text_of_tokens(tmp_path: Path) -> None:
    text = "User: a\n\nAssistant: b\n\nUser: c"
    path = token_file(tmp_path / "t", [[byte + 1 for byte in text.encode()] + [0]])
    for mask in ("answers", "qa"):
        _, trained = document(load(path, WorldBytes(), 257, mask), 0)
        answer = text.index(" b"), text.index("User: c")
        assert trained == [answer[0] <= at < answer[1] for at in range(len(text) + 1)]


def test_tokens_without_a_known_text_have_no_answers(tmp_path: Path) -> None:
    path = token_file(tmp_path / "t", [[5, 0]])
    with pytest.raises(UserError, match="add --tokenizer, or leave --mask answers out"):
        load(path, Ids(300, ""), 300, "answers")


def test_a_folder_beside_token_files_of_its_name_is_read(tmp_path: Path) -> None:
    token_file(tmp_path / "t", [[5, 0]])
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "a.txt").write_text("a")
    assert load(tmp_path / "t", WorldBytes(), 257, "auto").tokens.tolist() == [98, 0]


def test_summary() -> None:
    # Trained by document: all; none; only the first token, which is no target; the last of nine.
    trained = [True] * 4 + [False] * 3 + [True, False] + [False] * 8 + [True] + [True]
    summary = summarize(small([4, 3, 2, 9, 1], trained), ctx=4)
    assert summary == Summary(
        documents=5,
        tokens=19,
        trained_tokens=4,
        too_long=1,
        lost_tokens=0,
        too_short=1,
        pieces=2,
        untrained_pieces=3,
    )


@pytest.mark.parametrize(
    ("length", "too_long", "pieces"), [(1, 0, 0), (2, 0, 1), (5, 0, 1), (6, 1, 2), (9, 1, 2)]
)
def test_a_document_is_too_long_from_ctx_plus_two_tokens(
    length: int, too_long: int, pieces: int
) -> None:
    summary = summarize(small([length]), ctx=4)
    assert (summary.too_long, summary.pieces) == (too_long, pieces)


def test_select() -> None:
    corpus = small([2, 1, 3, 2], [True, False] * 4)
    chosen = select(corpus, [3, 0, 1])
    assert chosen.tokens.tolist() == [7, 8, 1, 2, 3]
    assert chosen.trained.tolist() == [True, False, True, False, True]
    assert chosen.offsets.tolist() == [0, 2, 4, 5]
    assert list(chosen.places) == ["d:4", "d:1", "d:2"]
    assert chosen.tokens.dtype == corpus.tokens.dtype
    assert len(select(corpus, [])) == 0


def test_select_from_token_files(tmp_path: Path) -> None:
    path = token_file(tmp_path / "t", [[5, 0], [6, 0], [7, 0]])
    chosen = select(load(path, WorldBytes(), 257, "auto"), np.array([2, 0]))
    assert chosen.tokens.tolist() == [7, 0, 5, 0]
    assert chosen.trained.all()
    assert list(chosen.places) == ["t.bin document 3", "t.bin document 1"]


@pytest.mark.parametrize(
    ("count", "share", "held"), [(10, 0.2, 2), (10, 0.01, 1), (10, 0.99, 9), (2, 0.5, 1)]
)
def test_split_share(count: int, share: float, held: int) -> None:
    corpus = small([2] * count)
    training, held_out = split_share(corpus, share, seed=3)
    assert (len(training), len(held_out)) == (count - held, held)
    firsts = [part.tokens[::2].tolist() for part in (training, held_out)]
    assert firsts == [sorted(first) for first in firsts]
    assert sorted(firsts[0] + firsts[1]) == corpus.tokens[::2].tolist()


def test_splits_follow_from_the_seed() -> None:
    corpus = small([1] * 40)
    held = [tuple(split_share(corpus, 0.25, seed)[1].places) for seed in (1, 1, 2)]
    assert held[0] == held[1]
    assert held[0] != held[2]


def test_splits_that_cannot_be() -> None:
    with pytest.raises(UserError, match="d:1: one document alone cannot be split"):
        split_share(small([5]), 0.1, seed=1)
    for share in (0.0, 1.0, -0.5, float("nan")):
        with pytest.raises(ValueError, match="between 0 and 1"):
            split_share(small([5, 5]), share, seed=1)


def test_token_files_of_a_model_without_a_known_tokenizer(tmp_path: Path) -> None:
    path = token_file(tmp_path / "t", [[5, 299, 0]])
    text = jsonl(tmp_path / "d.jsonl", {"text": "a"})
    tokenizer = tokenizer_of_tokens(300, None, None)
    corpus = load(path, tokenizer, 300, "auto")
    assert colored(corpus, 0, tokenizer) == [("5 299 ", True)]
    with pytest.raises(UserError, match=r"d\.jsonl:1: .* 300 tokens, and no tokenizer is known"):
        load(text, tokenizer, 300, "auto")
    assert [
        is_tokens(each, ReadConfig()) for each in (path, path.with_suffix(".bin"), text, tmp_path)
    ] == [
        True,
        True,
        False,
        False,
    ]
