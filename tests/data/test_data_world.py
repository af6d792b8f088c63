"""The World tokenizers against the trie of the `rwkv` package."""

import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import rwkv.rwkv_tokenizer
from rwkv.rwkv_tokenizer import TRIE_TOKENIZER

from eyas import native
from eyas.data.longest import LongestMatch, Rust
from eyas.data.tokenizer import decode
from eyas.data.world import (
    World,
    WorldFile,
    open_world,
    read_table,
    standard_matcher,
    standard_table,
)
from eyas.errors import UserError

SHIPPED = Path(rwkv.rwkv_tokenizer.__file__).with_name("rwkv_vocab_v20230424.txt")
TEXTS = [
    "",
    " ",
    "\0",
    "a\0b\0\0c",
    "The quick brown fox jumps over the lazy dog.\n\nUser: Hi!\n\nAssistant: Hello.\n",
    "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。",
    "繁體中文、日本語のテキスト、한국어 문장",
    "Съешь ещё этих мягких французских булок; Ξεσκεπάζω τὴν ψυχοφθόρα βδελυγμία",
    "نص عربي قصير, עברית, हिन्दी में एक वाक्य, ภาษาไทย",
    "😀👩‍👩‍👧‍👦🏳️‍🌈 naïve café e\u0301",
    "".join(map(chr, range(128))),
    "\r\n\t\v\f\x1b[31m\x7f\x80\x9f\xa0\u2028\u2029\ufeff\ufffd\uffff\U0010ffff",
    "    def f(x):\n        return x ** 2  # ====================\n" * 3,
    " " * 300 + "=" * 300,
]


@pytest.fixture(scope="module")
def reference() -> TRIE_TOKENIZER:
    return TRIE_TOKENIZER(str(SHIPPED))


@pytest.fixture(scope="module", params=["as it comes", "Rust", "Python"])
def world(request: pytest.FixtureRequest) -> World:
    """By each of the matchers; as it comes it is compiled, if that can be."""
    slow = LongestMatch(standard_table())
    return World({"Rust": Rust(slow), "Python": slow}.get(request.param))


@pytest.fixture(scope="module")
def token_texts(reference: TRIE_TOKENIZER) -> dict[str, list[int]]:
    """The tokens that are text, and what each is encoded as."""
    pieces = [piece.decode(errors="replace") for piece in reference.idx2token.values()]
    return {piece: reference.encode(piece) for piece in pieces if "\ufffd" not in piece}


def random_texts(seed: int, count: int) -> list[str]:
    """Texts from all of Unicode but the surrogates, mixed with common characters."""
    chance = random.Random(seed)
    common = " \n,.eaoti的一是不了:0123"
    wide = [*range(0xD800), *range(0xE000, 0x110000)]
    return [
        "".join(
            chance.choice(common) if chance.random() < 0.6 else chr(chance.choice(wide))
            for _ in range(chance.randrange(80))
        )
        for _ in range(count)
    ]


def test_every_id_stands_for_the_same_bytes(world: World, reference: TRIE_TOKENIZER) -> None:
    expected = [reference.idx2token.get(token, b"") for token in range(world.vocab_size)]
    assert [world.token_bytes(token) for token in range(world.vocab_size)] == expected


def test_ids_without_a_token_are_empty(world: World) -> None:
    assert [world.token_bytes(token) for token in (0, 65530, 65535)] == [b""] * 3


def test_every_token_that_is_text_is_encoded_alike(
    world: World, token_texts: dict[str, list[int]]
) -> None:
    assert {text: world.encode(text) for text in token_texts} == token_texts


def test_the_compiled_trie_is_used_where_it_is() -> None:
    kind = native.Trie if native.library() else Rust
    assert isinstance(standard_matcher(), kind)


@pytest.mark.parametrize("text", TEXTS)
def test_texts_are_encoded_alike(world: World, reference: TRIE_TOKENIZER, text: str) -> None:
    tokens = world.encode(text)
    assert tokens == reference.encode(text)
    assert decode(world, tokens) == text


def test_random_texts_are_encoded_alike(world: World, reference: TRIE_TOKENIZER) -> None:
    for text in random_texts(seed=1, count=300):
        assert world.encode(text) == reference.encode(text)


def test_random_bytes_are_encoded_alike(world: World, reference: TRIE_TOKENIZER) -> None:
    chance = random.Random(4)
    pieces = list(reference.idx2token.values())
    for _ in range(200):
        data = b"".join(
            chance.choice(pieces) if chance.random() < 0.7 else chance.randbytes(3)
            for _ in range(chance.randrange(30))
        )
        tokens = world.encode_bytes(data)
        assert tokens.dtype == np.int32
        assert tokens.tolist() == reference.encodeBytes(data)
        assert b"".join(map(world.token_bytes, tokens.tolist())) == data


def test_a_long_text_is_encoded_alike(reference: TRIE_TOKENIZER) -> None:
    text = "".join(TEXTS + random_texts(seed=5, count=500)) * 3
    assert World().encode(text) == reference.encode(text)


def test_bytes_and_text_are_encoded_alike(world: World) -> None:
    for text in TEXTS:
        assert world.encode_bytes(text.encode()).tolist() == world.encode(text)


def test_pickled() -> None:
    world = pickle.loads(pickle.dumps(World()))
    other = pickle.loads(pickle.dumps(WorldFile({1: b"a", 2: b"aa"}, "v.txt")))
    assert world.encode(TEXTS[4]) == World().encode(TEXTS[4])
    assert other.encode("aaa") == [2, 1]


def test_a_trimmed_vocabulary(tmp_path: Path) -> None:
    path = tmp_path / "rwkv_vocab_trimmed.txt"
    lines = SHIPPED.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:256] + lines[256::7]), encoding="utf-8")
    reference, tokenizer = TRIE_TOKENIZER(str(path)), open_world(path)
    assert isinstance(tokenizer, WorldFile)
    assert tokenizer.vocab_size == max(reference.idx2token) + 1
    for text in TEXTS + random_texts(seed=3, count=100):
        tokens = tokenizer.encode(text)
        assert tokens == reference.encode(text)
        assert decode(tokenizer, tokens) == text


def test_a_copy_of_the_standard_file_is_the_standard_tokenizer(tmp_path: Path) -> None:
    path = tmp_path / "rwkv_vocab_v20230424.txt"
    path.write_bytes(b"\xef\xbb\xbf" + SHIPPED.read_bytes())
    assert isinstance(open_world(path), World)


def test_a_short_piece_at_the_end_is_not_taken_for_a_long_one(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_text("1 'a' 1\n2 'b' 1\n3 'ab' 2\n4 'abc' 3\n9 b'\\xe4\\xbd' 2\n")
    tokenizer = open_world(path)
    assert tokenizer.encode("abab") == [3, 3]
    assert tokenizer.encode("aabca") == [1, 4, 1]
    assert tokenizer.token_bytes(9) == b"\xe4\xbd"
    assert [tokenizer.token_bytes(unused) for unused in (0, 5)] == [b"", b""]


@pytest.mark.parametrize("python", [False, True])
def test_a_byte_without_a_token_is_named(python: bool) -> None:
    table = {1: b"a", 2: b"b", 3: b"ba"}
    tokenizer = WorldFile(table, "letters.txt", LongestMatch(table) if python else None)
    with pytest.raises(UserError, match=r"letters\.txt has no token for the byte 0x63 \(at 'ca'"):
        tokenizer.encode("abca")
    with pytest.raises(UserError, match=r"no token for the byte 0xff \(at '\ufffd'\)"):
        tokenizer.encode_bytes(b"ab\xff")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("1 'a' 1\n2 'b' 2\n", r"v\.txt:2: is not a vocabulary line"),
        ("1 'a' 1\nhello\n", r"v\.txt:2: is not a vocabulary line"),
        ("1 __import__('os') 1\n", r"v\.txt:1: is not a vocabulary line"),
        ("1 'a' + __import__('os').sep + 'b' 3\n", r"v\.txt:1: is not a vocabulary line"),
        ("1 'a' 'b' 6\n", r"v\.txt:1: is not a vocabulary line"),
        ("1 '' 0\n", r"v\.txt:1: is not a vocabulary line"),
        ("0 'a' 1\n", r"v\.txt:1: is not a vocabulary line"),
        ("99999999 'a' 1\n", r"v\.txt:1: is not a vocabulary line"),
        ("1 '\\ud800' 3\n", r"v\.txt:1: is not a vocabulary line"),
        ("1 'a' 1\n\n1 'b' 1\n", r"v\.txt:3: token 1 is there twice"),
        ("1 'a' 1\n2 b'a' 1\n", r"v\.txt: tokens 1 and 2 are both b'a'"),
        ("\n\n", r"v\.txt: holds no token"),
    ],
)
def test_bad_vocabulary_files(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "v.txt"
    path.write_text(content)
    with pytest.raises(UserError, match=problem) as caught:
        read_table(path)
    assert "\n" not in str(caught.value)


def test_vocabulary_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_table(tmp_path / "none.txt")
    path = tmp_path / "latin.txt"
    path.write_bytes(b"1 '\xe9' 1\n")
    with pytest.raises(UserError, match="not UTF-8"):
        read_table(path)
