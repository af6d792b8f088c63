"""The compiled trie against a search written in the plainest way."""

import pickle
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from eyas.native import NoTokenError, Trie, library

pytestmark = pytest.mark.skipif(library() is None, reason="no library")


def plainest(table: dict[int, bytes], data: bytes) -> list[int]:
    """Tries every token at every place."""
    tokens, position = [], 0
    while position < len(data):
        fitting = [t for t, piece in table.items() if data.startswith(piece, position)]
        if not fitting:
            raise NoTokenError(position)
        tokens.append(max(fitting, key=lambda t: len(table[t])))
        position += len(table[tokens[-1]])
    return tokens


def outcome(encode, data: bytes) -> list[int] | str:
    try:
        return list(encode(data))
    except NoTokenError as error:
        return f"no token at {error.position}"


def random_table(chance: random.Random, alphabet: bytes) -> dict[int, bytes]:
    pieces = {
        bytes(chance.choices(alphabet, k=chance.choice((1, 1, 2, 3, 5, 9))))
        for _ in range(chance.randrange(1, 60))
    }
    ids = chance.sample(range(2**31), len(pieces))
    return dict(zip(ids, pieces, strict=True))


@pytest.mark.parametrize("alphabet", [b"ab", b"\x00\x01\xff", bytes(range(256))])
def test_random_vocabularies_on_random_bytes(alphabet):
    chance = random.Random(len(alphabet))
    for _ in range(60):
        table = random_table(chance, alphabet)
        trie = Trie(table)
        some = list(table.values())
        for _ in range(10):
            data = b"".join(
                chance.choice(some) if chance.random() < 0.95 else bytes(chance.choices(alphabet))
                for _ in range(chance.randrange(25))
            )
            expected = outcome(lambda data, table=table: plainest(table, data), data)
            assert outcome(trie.encode, data) == expected


def test_every_byte_and_every_pair():
    pieces = [bytes([a]) for a in range(256)] + [bytes([a, b]) for a in range(256) for b in (0, a)]
    table = dict(enumerate(dict.fromkeys(pieces)))
    trie = Trie(table)
    for token, piece in table.items():
        assert trie.encode(piece).tolist() == [token]


def test_one_token_and_nothing():
    trie = Trie({7: b"\0"})
    assert trie.encode(b"").tolist() == []
    assert trie.encode(b"\0\0").tolist() == [7, 7]
    assert trie.encode(b"\0").dtype == np.int32
    with pytest.raises(NoTokenError) as caught:
        trie.encode(b"\0\0a")
    assert caught.value.position == 2


def test_a_long_token_that_does_not_come_about_costs_only_its_length():
    long = b"a" * 500 + b"b"
    trie = Trie({1: b"a", 2: long})
    assert trie.encode(b"a" * 1000).tolist() == [1] * 1000
    assert trie.encode(b"a" * 100 + long).tolist() == [1] * 100 + [2]


def test_pickled_and_in_threads():
    trie = pickle.loads(pickle.dumps(Trie({3: b"ab", 4: b"a"})))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: trie.encode(b"aba" * n).tolist(), range(200)))
    assert found == [[3, 4] * n for n in range(200)]
