"""`eyas prepare`, against what json2binidx_tool and RWKV-LM's make_data.py are known to write.

json2binidx_tool: for each record that is not empty the tokens of its text, as it stands there, and
with --append-eod token 0; int32; one item and one document mark a record, and the first mark 0.
make_data.py: all records N times over, shuffled anew each time, each with token 0; uint16.
"""

import errno
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import rwkv.rwkv_tokenizer
from filelock import FileLock
from rwkv.rwkv_tokenizer import TRIE_TOKENIZER

from eyas.cli.prepare import magic_prime
from eyas.data import ReadConfig, binidx, load_corpus, preparing, tokenizer_for

TEXTS = [
    "This is the first document.",
    "Hello\nWorld",
    " blanks at both ends \t\n",
    "春眠不觉晓，处处闻啼鸟。\r\n夜来风雨声，花落知多少。",
    "User: 1+1?\n\nAssistant: 2\n\nUser: naïve?\n\nAssistant: café 😀",
    "\u3000full width\u00a0no break\ufb01 ligature e\u0301 \0 NUL",
    "1+1=2\n1+2=3\n2+2=4",
]
CHATS = [
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": f"b{i}"}] for i in range(5)
]
VOCABULARY = Path(rwkv.rwkv_tokenizer.__file__).with_name("rwkv_vocab_v20230424.txt")


@pytest.fixture(scope="module")
def peer() -> TRIE_TOKENIZER:
    return TRIE_TOKENIZER(str(VOCABULARY))


def lines(path: str, records: Sequence[object], **how: bool) -> str:
    text = "".join(json.dumps(record, **how) + "\n" for record in records)
    Path(path).write_text(text, encoding="utf-8")
    return path


def texts(path: str, some: Sequence[str] = TEXTS) -> str:
    return lines(path, [{"meta": {"n": 1}, "text": text} for text in some], ensure_ascii=False)


def by_hand(documents: Sequence[Sequence[int]], code: int, letter: str) -> tuple[bytes, bytes]:
    """The .bin and the .idx of these documents."""
    width = struct.calcsize(letter)
    sizes = [len(document) for document in documents]
    ends = np.cumsum(sizes).tolist()
    count = len(sizes)
    idx = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, code, count, count + 1)
    idx += struct.pack(f"<{count}i", *sizes)
    idx += struct.pack(
        f"<{count}q", *(width * (end - size) for end, size in zip(ends, sizes, strict=True))
    )
    idx += struct.pack(f"<{count + 1}q", *range(count + 1))
    flat = [token for document in documents for token in document]
    return struct.pack(f"<{len(flat)}{letter}", *flat), idx


def documents_of(prefix: str) -> list[list[int]]:
    data = binidx.read(Path(prefix))
    return [data.tokens[a:b].tolist() for a, b in pairwise(data.offsets.tolist())]


def done(eyas, *arguments: str) -> str:
    code, out, err = eyas("prepare", *arguments)
    assert (code, err) == (0, "")
    return out


def refused(eyas, *arguments: str) -> str:
    """The one line that says why; nothing is left behind."""
    before = {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    code, out, err = eyas("prepare", *arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()} == before
    return err


def test_empty_documents_are_left_out(eyas) -> None:
    texts("d.jsonl", ["a", "", "b", ""])
    out = done(eyas, "d.jsonl", "d", "--tokenizer", "bytes")
    assert documents_of("d") == [[*b"a", 0], [*b"b", 0]]
    assert "2 documents without text were left out" in out
    texts("e.jsonl", ["", ""])
    assert "e.jsonl: no document holds text" in refused(eyas, "e.jsonl", "e")


@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_as_json2binidx_tool_writes_it(eyas, peer: TRIE_TOKENIZER, ensure_ascii: bool) -> None:
    lines("s.jsonl", [{"text": text} for text in TEXTS], ensure_ascii=ensure_ascii)
    out = done(eyas, "s.jsonl", "s_text_document", "--dtype", "int32")
    expected = by_hand([[*peer.encode(text), 0] for text in TEXTS], 4, "i")
    assert Path("s_text_document.bin").read_bytes() == expected[0]
    assert Path("s_text_document.idx").read_bytes() == expected[1]
    assert not list(Path().glob("*.mask.*"))
    assert f"7 documents, {len(expected[0]) // 4} tokens, 100.0% trained" in out
    assert out.endswith("Next: eyas train MODEL s_text_document\n")


def test_as_make_data_writes_it_up_to_the_order(eyas, peer: TRIE_TOKENIZER) -> None:
    texts("demo.jsonl")
    done(eyas, "demo.jsonl", "demo", "--shuffle", "--repeat", "3")
    documents = documents_of("demo")
    source = [[*peer.encode(text), 0] for text in TEXTS]
    passes = [documents[at : at + len(TEXTS)] for at in range(0, 3 * len(TEXTS), len(TEXTS))]
    assert all(sorted(each) == sorted(source) for each in passes)
    assert len({json.dumps(each) for each in [source, *passes]}) == 4
    assert (Path("demo.bin").read_bytes(), Path("demo.idx").read_bytes()) == by_hand(
        documents, 8, "H"
    )
    again = Path("demo.bin").read_bytes()
    done(eyas, "demo.jsonl", "demo", "--shuffle", "--repeat", "3", "--overwrite")
    assert Path("demo.bin").read_bytes() == again
    done(eyas, "demo.jsonl", "demo", "--shuffle", "--repeat", "3", "--seed", "1", "--overwrite")
    assert Path("demo.bin").read_bytes() != again


def test_repeating_without_shuffling(eyas, peer: TRIE_TOKENIZER) -> None:
    texts("d.jsonl")
    done(eyas, "d.jsonl", "d.idx", "--repeat", "2", "--no-shuffle")
    assert documents_of("d") == [[*peer.encode(text), 0] for text in TEXTS] * 2


@pytest.mark.parametrize(
    ("tokens", "ctx", "prime"),
    [  # as RWKV-LM's scripts and README have them
        (1498226207, 512, 2926181),
        (1498226207, 4096, 365759),
        (332115325534, 4096, 81082817),
        (3 * 4096 - 1, 4096, None),
    ],
)
def test_what_rwkv_lm_is_told(tokens: int, ctx: int, prime: int | None) -> None:
    assert magic_prime(tokens, ctx) == prime


def test_telling_rwkv_lm(eyas) -> None:
    texts("d.jsonl", ["x" * 100])
    out = done(eyas, "d.jsonl", "d", "--ctx", "4", "--tokenizer", "bytes")
    assert "RWKV-LM: --my_exit_tokens 101 --magic_prime 23 --ctx_len 4" in out
    out = done(eyas, "d.jsonl", "d", "--ctx", "50", "--tokenizer", "bytes", "--overwrite")
    assert "RWKV-LM: too few tokens for a context of 50" in out


def test_trained_spans_survive(eyas) -> None:
    lines("c.jsonl", [{"messages": chat} for chat in CHATS])
    out = done(eyas, "c.jsonl", "c.bin")
    assert "c.mask.bin, c.mask.idx" in out
    world = tokenizer_for(65536, None, "world")
    text = load_corpus([Path("c.jsonl")], world, 65536, ReadConfig())
    assert 0 < np.count_nonzero(text.trained) < len(text.trained)
    pair = load_corpus([Path("c")], world, 65536, ReadConfig())
    for name in ("tokens", "trained", "offsets"):
        assert np.array_equal(getattr(pair, name), getattr(text, name))
    flags = [text.trained[a:b].astype(int).tolist() for a, b in pairwise(text.offsets.tolist())]
    assert (Path("c.mask.bin").read_bytes(), Path("c.mask.idx").read_bytes()) == by_hand(
        flags, 1, "B"
    )

    out = done(eyas, "c.jsonl", "c", "--no-mask", "--overwrite")
    assert "without a mask (--no-mask) all of it will be trained" in out
    assert not list(Path().glob("*.mask.*"))
    assert binidx.read(Path("c")).trained is None


def test_answers_are_found_in_tokens_as_in_their_text(eyas) -> None:
    lines("d.jsonl", [{"messages": chat} for chat in CHATS])
    done(eyas, "d.jsonl", "of_text")
    done(eyas, "d.jsonl", "whole", "--no-mask")
    assert not Path("whole.mask.bin").exists()
    for mask in ("qa", "answers"):
        done(eyas, "whole", "of_tokens", "--mask", mask, "--overwrite")
        for end in (".bin", ".idx", ".mask.bin", ".mask.idx"):
            assert Path(f"of_tokens{end}").read_bytes() == Path(f"of_text{end}").read_bytes()


def test_reading_options(eyas) -> None:
    lines("q.jsonl", [{"frage": "a", "antwort": "b"}])
    done(eyas, "q.jsonl", "q", "--map", "frage:user,antwort:assistant", "--tokenizer", "bytes")
    assert documents_of("q") == [[*b"User: a\n\nAssistant: b", 0]]
    assert binidx.read(Path("q")).trained.tolist() == [False] * 19 + [True] * 3
    done(eyas, "q.jsonl", "r", "--map", "antwort:text", "--tokenizer", "bytes")
    assert documents_of("r") == [[*b"b", 0]]


def test_folders(eyas) -> None:
    Path("corpus").mkdir()
    for name in ("b", "a"):
        Path(f"corpus/{name}.txt").write_text(name)
    done(eyas, "corpus", "corpus.bin", "--tokenizer", "bytes")
    assert documents_of("corpus.bin") == [[*b"a", 0], [*b"b", 0]]
    os.chdir("corpus")
    done(eyas, ".", "../here", "--tokenizer", "bytes")
    assert documents_of("../here") == documents_of("../corpus.bin")


def test_several_inputs_of_all_kinds(eyas, peer: TRIE_TOKENIZER) -> None:
    texts("a.jsonl", TEXTS[:2])
    Path("t.txt").write_text("plain\r\ntext")
    binidx.write(Path("wide"), [[70, 80, 0], [9, 0]], np.int32)
    lines("c.jsonl", [{"messages": CHATS[0]}])
    done(eyas, "c.jsonl", "c")
    out = done(eyas, "a.jsonl", "wide", "c.idx", "t.txt", "all")
    assert "6 documents" in out
    chat = documents_of("c")[0]
    assert documents_of("all") == [
        *([*peer.encode(text), 0] for text in TEXTS[:2]),
        [70, 80, 0],
        [9, 0],
        chat,
        [*peer.encode("plain\ntext"), 0],
    ]
    data, mask = binidx.read(Path("all")), binidx.read(Path("c")).trained
    assert data.tokens.dtype == np.uint16
    assert mask is not None
    begin, end = data.offsets[4:6]
    assert data.trained[begin:end].tolist() == mask.tolist()
    assert data.trained[:begin].all()
    assert data.trained[end:].all()


def test_the_tokenizer_of_a_model(eyas) -> None:
    texts("d.jsonl", ["abc"])
    out = done(eyas, "d.jsonl", "d", "--model", "m.pth")
    assert documents_of("d") == [[*b"abc", 0]]  # its vocabulary has 256 rows
    assert out.endswith("Next: eyas train m.pth d\n")
    binidx.write(Path("w"), [[300, 0]], np.uint16)
    problem = refused(eyas, "w", "v", "--model", "m.pth")
    assert "w.bin document 1: token 300 is outside the model's vocabulary of 256; name" in problem


def test_wide_vocabularies(eyas) -> None:
    table = "".join(f"{byte + 1} {bytes([byte])!r} 1\n" for byte in range(256))
    Path("v.txt").write_text(table + "70000 'abc' 3\n")
    texts("d.jsonl", ["abcd"])
    done(eyas, "d.jsonl", "d", "--tokenizer", "v.txt")
    assert documents_of("d") == [[70000, 101, 0]]
    assert binidx.read(Path("d")).tokens.dtype == np.int32
    problem = refused(eyas, "d.jsonl", "e", "--tokenizer", "v.txt", "--dtype", "uint16")
    assert "e: document 1: token 70000 does not fit uint16; use a wider dtype" in problem


def test_bad_outputs(eyas) -> None:
    texts("a.jsonl")
    done(eyas, "a.jsonl", "there")
    Path("folder").mkdir()
    Path("link.bin").symlink_to("there.bin")
    for arguments, problem in [
        (["a.jsonl", "there"], "there: exists already (there.bin, there.idx); add --overwrite"),
        (["there", "there.bin", "--overwrite"], "there.bin: is what is read from; choose another"),
        (["there.idx", "link", "--overwrite"], "link: is what is read from"),
        (["a.jsonl", "folder"], "folder: is a folder; name the files in it, such as folder/NAME"),
        (["d.jsonl", "a.jsonl"], "a.jsonl: is a file; the last name is that of the pair to write"),
        (["a.jsonl", "x.mask"], "x.mask: .mask is for the masks of pairs; choose another name"),
        (["a.jsonl", ".bin"], ".bin: is no name for a pair"),
        (["a.jsonl", "no/where"], "no/where: the folder no does not exist; create it first"),
        (["a.jsonl", "x", "--repeat", "0"], "repeat = 0 must be at least 1"),
    ]:
        assert problem in refused(eyas, *arguments)


def test_bad_inputs_leave_nothing_behind(eyas) -> None:
    texts("good.jsonl")
    Path("bad.jsonl").write_text('{"text": "a"}\n{"text": 7}\n')
    Path("cut.idx").write_bytes(b"MMIDIDX\0\0")
    binidx.write(Path("wide"), [[1, 70000]], np.int32)
    for arguments, problem in [
        (["good.jsonl", "nowhere.jsonl", "x"], "nowhere.jsonl: no such file"),
        (["good.jsonl", "bad.jsonl", "x"], 'bad.jsonl:2: "text" is a number'),
        (["good.jsonl", "bad.jsonl", "x", "--shuffle"], 'bad.jsonl:2: "text" is a number'),
        (["cut", "x"], "cut.bin: no such file; binidx data needs both"),
        (["wide", "x"], "wide.bin document 1: token 70000 is outside the model's vocabulary of"),
        (["good.jsonl", "x", "--mask", "se", "--mask-id", "<", "--mask-id", "0"], "mask_id 0: "),
        (["good.jsonl", "x", "--tokenizer", "wrld"], "did you mean 'world'?"),
    ]:
        assert problem in refused(eyas, *arguments)


def test_a_full_disk_leaves_everything_as_it_was(eyas, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    lines("c.jsonl", [{"messages": chat} for chat in CHATS])
    done(eyas, "c.jsonl", "x")
    monkeypatch.setattr(os, "fsync", full)
    assert "the disk is full; free some space" in refused(eyas, "d.jsonl", "x", "--overwrite")


def test_an_interrupt_leaves_everything_as_it_was(eyas, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    before = sorted(os.listdir())
    monkeypatch.setattr(preparing, "mark", interrupted)
    assert eyas("prepare", "d.jsonl", "x") == (130, "", "\n")
    assert sorted(os.listdir()) == before


def test_two_at_once(eyas) -> None:
    with FileLock(".x.lock"):
        assert "x: another process is writing it; wait" in refused(eyas, "d.jsonl", "x")
    done(eyas, "d.jsonl", "x")
    assert sorted(path.name for path in Path().glob("*x*")) == ["x.bin", "x.idx"]


def test_what_a_killed_process_left_is_removed(eyas) -> None:
    Path("slow.jsonl").write_text(f'{{"text": "{"a b " * 250}"}}\n' * 20000)
    command = [sys.executable, "-m", "eyas", "prepare", "slow.jsonl", "x"]
    with subprocess.Popen(command) as process:
        while not list(Path().glob(".x.bin.*.tmp")):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    left = sorted(path.name for path in Path().glob("*x*"))
    assert left
    assert all(name.startswith(".x.") for name in left)
    done(eyas, "d.jsonl", "x")
    assert sorted(path.name for path in Path().glob("*x*")) == ["x.bin", "x.idx"]
