"""tokenizer.json files, built here with the `tokenizers` library."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from eyas.data.huggingface import HuggingFace
from eyas.data.tokenizer import decode
from eyas.errors import UserError

SAMPLE = [
    "the cat sat on the mat",
    "naïve café 春眠不觉晓 😀",
    "User: hi\n\nAssistant: yes  no",
] * 9


def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>", "<|pad|>"],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(SAMPLE, trainer)
    return tokenizer


Saved = Callable[[Tokenizer], HuggingFace]


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    def save(tokenizer: Tokenizer) -> HuggingFace:
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        return HuggingFace(tmp_path / "tokenizer.json")

    return save


def test_byte_level_tokens_stand_for_bytes(saved: Saved) -> None:
    tokenizer = saved(byte_level())
    assert tokenizer.vocab_size == 300
    text = "the naïve cat:\n\n\t春 眠😀\x00\x7f  end \u3000"
    tokens = tokenizer.encode(text)
    assert tokens == byte_level().encode(text).ids
    assert tokenizer.encode_bytes(text.encode()).tolist() == tokens
    assert b"".join(map(tokenizer.token_bytes, tokens)) == text.encode()
    assert decode(tokenizer, tokens) == text
    single = {tokenizer.token_bytes(token) for token in range(300)}
    assert {bytes([byte]) for byte in range(256)} <= single


def test_bytes_that_are_no_text(saved: Saved) -> None:
    with pytest.raises(UserError, match="takes UTF-8 only, and there is the byte 0xe4"):
        saved(byte_level()).encode_bytes(b"a\xe4b")


def test_ids_without_text(saved: Saved) -> None:
    tokenizer = saved(byte_level())
    assert tokenizer.encode("<|endoftext|>") == [0]
    assert tokenizer.token_bytes(0) == b""
    assert tokenizer.token_bytes(1) == b"<|pad|>"


def test_added_tokens_may_leave_gaps_and_hold_any_text(saved: Saved, tmp_path: Path) -> None:
    saved(byte_level())
    form = json.loads((tmp_path / "tokenizer.json").read_text())
    added = {**form["added_tokens"][1], "id": 310, "content": "模型 "}
    form["added_tokens"].append(added)
    (tmp_path / "tokenizer.json").write_text(json.dumps(form))
    tokenizer = HuggingFace(tmp_path / "tokenizer.json")
    assert tokenizer.encode("模型 ") == [tokenizer.vocab_size - 1]
    assert tokenizer.token_bytes(tokenizer.vocab_size - 1) == "模型 ".encode()


def test_truncation_padding_and_special_tokens_are_left_out(saved: Saved) -> None:
    plain = byte_level()
    text = "the cat sat on the mat " * 20
    expected = plain.encode(text).ids
    plain.enable_truncation(4)
    plain.enable_padding(length=8, pad_id=1)
    plain.post_processor = processors.TemplateProcessing(
        single="<|pad|> $A", special_tokens=[("<|pad|>", 1)]
    )
    assert plain.encode(text).ids != expected
    assert saved(plain).encode(text) == expected


def test_offsets_keep_blanks_and_whole_characters(saved: Saved) -> None:
    tokenizer = saved(byte_level())
    text = "a  春\n\n b"
    tokens, offsets = tokenizer.encode_with_offsets(text)
    assert tokens == tokenizer.encode(text)
    for token, (start, end) in zip(tokens, offsets, strict=True):
        assert tokenizer.token_bytes(token) in text[start:end].encode()
    assert {at for start, end in offsets for at in range(start, end)} == set(range(len(text)))


def test_offsets_are_of_the_text_before_normalization(saved: Saved) -> None:
    plain = byte_level()
    plain.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokens, offsets = saved(plain).encode_with_offsets("X ﬃ Y")
    pieces = [byte_level().decode([token]).strip() for token in tokens]
    assert (pieces[0], offsets[0]) == ("x", (0, 1))
    assert [offsets[at] for at, piece in enumerate(pieces) if piece and piece in "ffi"] == [
        (2, 3)
    ] * 3
    assert offsets[-1][1] == 5


def test_sentencepiece_like_pieces(saved: Saved) -> None:
    vocabulary = {"<unk>": 0, "▁": 1, "▁the": 2, "<0x0A>": 3, "<0xE6>": 4, "<0xzz>": 5, "cat": 6}
    plain = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True, unk_token="<unk>"))
    tokenizer = saved(plain)
    expected = [b"", b" ", b" the", b"\n", b"\xe6", b"<0xzz>", b"cat"]
    assert [tokenizer.token_bytes(token) for token in range(7)] == expected


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"version": "1.0"}', b"\xff\xfe{"])
def test_files_that_are_no_tokenizer(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"tokenizer\.json: is not") as caught:
        HuggingFace(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        HuggingFace(tmp_path / "tokenizer.json")
