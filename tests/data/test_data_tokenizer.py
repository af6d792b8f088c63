"""Byte tokenizers, and which tokenizer a model gets."""

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer as Library
from tokenizers import models

from eyas.data.characters import Characters
from eyas.data.huggingface import HuggingFace
from eyas.data.tokenizer import (
    Bytes,
    Tokenizer,
    WorldBytes,
    decode,
    tokenizer_for,
    tokenizer_of_tokens,
)
from eyas.data.world import World, WorldFile
from eyas.errors import UserError

TEXT = "Grüße, 你好 😀\r\n\x7f"


def hf_file(path: Path, size: int) -> Path:
    Library(models.BPE({str(token): token for token in range(size)}, [])).save(str(path))
    return path


def world_file(path: Path, size: int) -> Path:
    """A vocabulary whose highest id is size - 1."""
    lines = [f"{byte + 1} {bytes([byte])!r} 1\n" for byte in range(256)]
    path.write_text("".join([*lines, f"{size - 1} 'hello' 5\n"]))
    return path


def test_bytes() -> None:
    tokenizer = Bytes()
    assert tokenizer.encode(TEXT) == list(TEXT.encode())
    assert decode(tokenizer, tokenizer.encode(TEXT)) == TEXT
    assert [tokenizer.token_bytes(token) for token in (0, 1, 255)] == [b"", b"\x01", b"\xff"]


def test_world_bytes() -> None:
    tokenizer = WorldBytes()
    assert tokenizer.encode("\0a") == [1, 98]
    assert decode(tokenizer, [*tokenizer.encode(TEXT), 0]) == TEXT
    assert [tokenizer.token_bytes(token) for token in (0, 1, 256)] == [b"", b"\0", b"\xff"]


@pytest.mark.parametrize("tokenizer", [Bytes(), WorldBytes()], ids=lambda t: t.name)
def test_any_bytes(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode_bytes(TEXT.encode()).tolist() == tokenizer.encode(TEXT)
    tokens = tokenizer.encode_bytes(b"\x01\xff\xe4")
    assert tokens.dtype == np.int32
    assert b"".join(map(tokenizer.token_bytes, tokens.tolist())) == b"\x01\xff\xe4"


@pytest.mark.parametrize("token", [-1, 2**31, 2**40])
def test_ids_out_of_range_stand_for_nothing(token: int, tmp_path: Path) -> None:
    hf = HuggingFace(hf_file(tmp_path / "x.json", 3))
    for tokenizer in (World(), Bytes(), WorldBytes(), Characters.of("ab"), hf):
        assert tokenizer.token_bytes(token) == b""


def test_cut_characters_are_replaced() -> None:
    assert decode(WorldBytes(), [byte + 1 for byte in b"a\xe4\xbd"]) == "a\ufffd"


@pytest.mark.parametrize(("vocab_size", "kind"), [(65536, World), (257, WorldBytes), (256, Bytes)])
def test_the_size_says_which(vocab_size: int, kind: type, tmp_path: Path) -> None:
    tokenizer = tokenizer_for(vocab_size, tmp_path / "model.pth", None)
    assert isinstance(tokenizer, kind)
    assert isinstance(tokenizer, Tokenizer)
    assert tokenizer.vocab_size == vocab_size


@pytest.mark.parametrize(
    ("name", "kind"), [("world", World), ("bytes", Bytes), ("world-bytes", WorldBytes)]
)
def test_a_given_name_wins(name: str, kind: type, tmp_path: Path) -> None:
    hf_file(tmp_path / "tokenizer.json", 300)
    tokenizer = tokenizer_for(300, tmp_path / "model.pth", name)
    assert isinstance(tokenizer, kind)
    assert tokenizer.name == name


def test_a_given_file_wins(tmp_path: Path) -> None:
    assert isinstance(tokenizer_for(65536, None, hf_file(tmp_path / "x.json", 90)), HuggingFace)
    given = str(world_file(tmp_path / "mine.txt", 300))
    assert isinstance(tokenizer_for(65536, None, given), WorldFile)


def test_a_file_beside_the_model(tmp_path: Path) -> None:
    hf_file(tmp_path / "tokenizer.json", 310)
    assert isinstance(tokenizer_for(320, tmp_path / "model.pth", None), HuggingFace)
    assert isinstance(tokenizer_for(320, tmp_path, None), HuggingFace)
    world_file(tmp_path / "rwkv_vocab_mine.txt", 300)
    assert isinstance(tokenizer_for(320, tmp_path / "model.pth", None), WorldFile)


def test_a_character_vocabulary(tmp_path: Path) -> None:
    Characters.of("hello 你好").save(tmp_path / "vocab.json")
    tokenizer = tokenizer_for(8, tmp_path / "model.pth", None)
    assert isinstance(tokenizer, Characters)
    assert isinstance(tokenizer, Tokenizer)
    assert isinstance(tokenizer_for(65536, None, tmp_path / "vocab.json"), Characters)
    assert isinstance(tokenizer_for(65536, tmp_path / "model.pth", None), World)


def test_hf_files_named_vocab_json_are_no_character_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text('{"0": 0, "a": 1}')
    with pytest.raises(UserError, match=r"vocab\.json: is not a tokenizer\.json"):
        tokenizer_for(5000, tmp_path / "model.pth", None)


def test_files_beside_the_model_that_belong_to_another_one(tmp_path: Path) -> None:
    hf_file(tmp_path / "20B_tokenizer.json", 5000)
    world_file(tmp_path / "rwkv_vocab_mine.txt", 9000)
    model = tmp_path / "model.pth"
    assert isinstance(tokenizer_for(65536, model, None), World)
    assert isinstance(tokenizer_for(257, model, None), WorldBytes)
    assert isinstance(tokenizer_for(5008, model, None), HuggingFace)
    with pytest.raises(
        UserError, match=r"rwkv_vocab_mine\.txt beside .*; 20B_tokenizer\.json beside"
    ):
        tokenizer_for(20000, model, None)


@pytest.mark.parametrize(
    ("vocab_size", "problem"),
    [(1000, "1000 tokens, and no tokenizer"), (50277, "50277 tokens, the old 20B one")],
)
def test_unknown_sizes_ask_for_a_tokenizer(vocab_size: int, problem: str) -> None:
    with pytest.raises(UserError, match=f"{problem}.*--tokenizer FILE") as caught:
        tokenizer_for(vocab_size, None, None)
    assert "\n" not in str(caught.value)


def test_given_names_and_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not one of world, bytes, world-bytes.*'world'"):
        tokenizer_for(65536, None, "wolrd")
    with pytest.raises(UserError, match="is not a file"):
        tokenizer_for(65536, None, tmp_path / "none.json")
    (tmp_path / "model.pth").write_bytes(b"PK")
    with pytest.raises(UserError, match="is no tokenizer"):
        tokenizer_for(65536, None, tmp_path / "model.pth")
    with pytest.raises(UserError, match="is no tokenizer"):
        tokenizer_for(65536, None, tmp_path)


def test_the_old_tokenizer_is_fetched_from_and_saved_as(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        tokenizer_for(50277, tmp_path / "model.pth", None)
    place = tmp_path / "20B_tokenizer.json"
    assert f"gpt-neox-20b/resolve/main/tokenizer.json as {place}, or" in str(caught.value)
    hf_file(place, 50277)
    assert isinstance(tokenizer_for(50277, tmp_path / "model.pth", None), HuggingFace)


def test_broken_files_beside_the_model_matter_only_where_they_are_needed(tmp_path: Path) -> None:
    (tmp_path / "rwkv_vocab_mine.txt").write_text("hello")
    (tmp_path / "tokenizer.json").write_text("{")
    model = tmp_path / "model.pth"
    assert isinstance(tokenizer_for(65536, model, None), World)
    with pytest.raises(UserError, match=r"mine\.txt:1: is not a voc.*tokenizer\.json: is not JSON"):
        tokenizer_for(5000, model, None)
    hf_file(tmp_path / "20B_tokenizer.json", 5000)
    assert isinstance(tokenizer_for(5000, model, None), HuggingFace)


def test_tokens_need_no_tokenizer(tmp_path: Path) -> None:
    assert isinstance(tokenizer_of_tokens(257, None, None), WorldBytes)
    tokenizer = tokenizer_of_tokens(300, tmp_path / "model.pth", None)
    assert isinstance(tokenizer, Tokenizer)
    assert decode(tokenizer, [299, 7, 0]) == "299 7 "
    with pytest.raises(UserError, match="300 tokens, and no tokenizer is known for it"):
        tokenizer.encode("a")
    with pytest.raises(UserError, match="no tokenizer is known for it"):
        tokenizer.encode_bytes(b"a")
    with pytest.raises(UserError, match="is not a file"):
        tokenizer_of_tokens(300, None, "none.json")
