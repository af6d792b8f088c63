"""Character vocabularies, in files as RWKV-LM writes them."""

import json
from pathlib import Path

import numpy as np
import pytest

from eyas.data.characters import Characters, is_characters, read_characters
from eyas.data.tokenizer import decode
from eyas.errors import UserError

TEXT = "to be,\nor not 你好 😀\u2028"


def written_by_rwkv_lm(path: Path, text: str, encoding: str) -> dict[str, int]:
    """The file that its training program leaves, and its map from character to id."""
    unique = sorted(set(text))
    table = dict(enumerate(unique))
    path.write_bytes(json.dumps(table, ensure_ascii=False).encode(encoding))
    return {character: i for i, character in enumerate(unique)}


def test_made_from_a_text() -> None:
    tokenizer = Characters.of(TEXT)
    assert tokenizer.vocab_size == len(set(TEXT)) + 1
    tokens = tokenizer.encode(TEXT)
    assert min(tokens) == 1
    assert max(tokens) == tokenizer.vocab_size - 1
    assert decode(tokenizer, [*tokens, 0]) == TEXT
    encoded = tokenizer.encode_bytes(TEXT.encode())
    assert (encoded.tolist(), encoded.dtype) == (tokens, np.int32)
    assert tokenizer.encode("") == []


def test_made_from_several_texts() -> None:
    assert Characters.of(["ab", "", "bc"]).encode("abc") == [1, 2, 3]
    assert Characters.of([]).vocab_size == 1


def test_nul_ends_a_document() -> None:
    tokenizer = Characters.of("a\0b")
    assert tokenizer.encode("a\0b") == [1, 0, 2]
    assert [tokenizer.token_bytes(token) for token in (0, 1, 3)] == [b"", b"a", b""]


def test_the_file_is_one_of_rwkv_lms(tmp_path: Path) -> None:
    Characters.of(TEXT).save(tmp_path / "own.json")
    written_by_rwkv_lm(tmp_path / "theirs.json", TEXT + "\0", "utf-16-le")
    assert (tmp_path / "own.json").read_bytes() == (tmp_path / "theirs.json").read_bytes()


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16", "utf-16-be", "utf-8", "utf-8-sig"])
def test_files_of_rwkv_lm(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "vocab.json"
    ids = written_by_rwkv_lm(path, TEXT, encoding)
    assert is_characters(path)
    tokenizer = read_characters(path)
    assert tokenizer.vocab_size == len(ids)
    assert tokenizer.encode(TEXT) == [ids[character] for character in TEXT]
    assert tokenizer.token_bytes(0) == b"\n"
    assert decode(tokenizer, tokenizer.encode(TEXT)) == TEXT


def test_characters_without_a_token_are_named_together() -> None:
    tokenizer = Characters.of("abc")
    with pytest.raises(UserError, match=r"no token for 2 characters of the text \('d', '😀'\)"):
        tokenizer.encode("addd😀")
    with pytest.raises(UserError, match=r"7 characters of the text \('d', 'e', 'f', 'g', 'h', …\)"):
        tokenizer.encode_bytes(b"jihgfed")
    with pytest.raises(UserError, match="the byte 0xff, which is not UTF-8"):
        tokenizer.encode_bytes(b"a\xffb")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "is not JSON"),
        ("{}", "holds no characters"),
        ("[]", "holds no characters"),
        ('{"0": "ab"}', r"1 entries are not an id and a character .*\(0: 'ab'\)"),
        ('{"0": "a", "1": "a", "x": "b", "2": 3, "03": "c"}', r"4 entries .*1: 'a'; x: 'b'; 2: 3"),
        ('{"0": "\\ud800"}', "1 entries"),
        ('{"0": ""}', "1 entries"),
        ('{"99999999": "a", "-1": "b", "\u0663": "c"}', "3 entries"),
    ],
)
def test_files_that_are_none(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "vocab.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"vocab\.json: " + problem) as caught:
        read_characters(path)
    assert "\n" not in str(caught.value)


def test_what_looks_like_one(tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    assert not is_characters(path)
    for content, expected in {
        '{"version": "1.0"}': 0,
        '{"0": 5}': 0,
        "": 0,
        ' {\n "0" : "a"}': 1,
    }.items():
        path.write_text(content)
        assert is_characters(path) == bool(expected)
    with pytest.raises(UserError, match="cannot be read"):
        read_characters(tmp_path / "none.json")
