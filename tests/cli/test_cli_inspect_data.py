"""`eyas inspect` of training data, as it is typed."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

from eyas.data.binidx import write


def lines(path: Path, *texts: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def test_all_of_it_is_shown(eyas, folder: Path) -> None:
    lines(folder / "v.jsonl", "User: 3\n\nAssistant: number 3")
    code, out, err = eyas(
        *("inspect", "d.jsonl", "--validation", "v.jsonl", "--png", "l.png", "--ctx", "64"),
        *("--tokenizer", "bytes", "--accumulate", "3", "--mask", "answers", "--show", "2"),
    )
    assert (code, err) == (0, "")
    words = " ".join(out.split())
    assert "a record a line" in words
    assert "12 documents, 340 characters, 352 tokens (bytes)" in words
    assert "no document is there twice" in words
    assert "29 to 31 tokens" in words
    assert "all documents fit 64 tokens" in words
    assert "1 of 1 (100.0%) documents are in the training data too" in words
    assert "rows (--ctx 64 --dataload pack), 2 steps of 1 x 3 rows" in words
    assert "warnings none" in words
    assert "d.jsonl:2\nUser: 1\n\nAssistant:[[ number 1]]\n" in out
    assert "d.jsonl:3\n" not in out
    assert (folder / "l.png").read_bytes().startswith(b"\x89PNG")
    assert out.endswith("Next: eyas train MODEL d.jsonl --dry-run\n")


def test_tokens_of_a_model(eyas) -> None:
    code, out, _ = eyas("inspect", "d.jsonl", "--model", "m.pth")
    assert code == 0
    assert "352 tokens (bytes)" in " ".join(out.split())
    code, out, _ = eyas("inspect", "d.jsonl")
    assert "tokens (world)" in " ".join(out.split())


def test_warnings_lead_to_a_repaired_copy(eyas, folder: Path) -> None:
    lines(folder / "bad.jsonl", "User: a cat\nAssistant: b", "User：a cat\n\nAssistent: b")
    code, out, err = eyas("inspect", "bad.jsonl")
    assert (code, err) == (0, "")
    words = " ".join(out.split())
    assert "1 x no blank line before a turn bad.jsonl:1 'Assistant: b'" in words
    assert "bad.jsonl:2 'User：'" in words
    command = "eyas inspect bad.jsonl --fix bad-repaired.jsonl"
    assert f"3 of the warnings are about what can be repaired: {command}" in words
    code, out, err = eyas(*command.split()[1:])
    assert (code, err) == (0, "")
    assert "2 records, 2 of them changed" in out
    assert "bad-repaired.jsonl, and each change in bad-repaired.jsonl.report.txt" in out
    assert out.endswith("Next: eyas inspect bad-repaired.jsonl\n")
    code, out, _ = eyas("inspect", "bad-repaired.jsonl")
    assert "warnings none" in " ".join(out.split())
    # The two are the same now, which is told and left.
    assert "bad-repaired.jsonl:2 of bad-repaired.jsonl:1" in " ".join(out.split())
    assert eyas(*command.split()[1:])[0] == 2
    assert eyas(*command.split()[1:], "--overwrite")[0] == 0


def test_kinds_of_data(eyas, folder: Path) -> None:
    (folder / "t.txt").write_text("Once upon a time there was a fox.\n" * 3)
    (folder / "t.csv").write_text("prompt,answer\nHi,Ho\n")
    with gzip.open(folder / "z.jsonl.gz", "wt") as file:
        file.write('{"text": "a compressed text"}\n')
    (folder / "books").mkdir()
    (folder / "books" / "a.txt").write_text("Another tale of a fox.")
    write(folder / "pair", [[*b"the tokens", 0]], np.uint16)
    np.save(folder / "n.npy", np.array([*b"more tokens", 0], np.uint16))
    for name, what in {
        "t.txt": "one document",
        "t.csv": "a table of text",
        "z.jsonl.gz": "a record a line, compressed as .gz",
        "books": "1 .txt files, each one document",
        "pair": "tokens in a binidx pair (uint16)",
        "n.npy": "tokens in a NumPy array",
    }.items():
        code, out, err = eyas("inspect", name, "--tokenizer", "bytes")
        assert (code, err) == (0, ""), name
        words = " ".join(out.split())
        assert what in words
        assert "documents 1 documents" in words
        assert f"Next: eyas train MODEL {name} --dry-run" in words
    # The token data show as text where the tokenizer is known.
    assert "[[more tokens]]" in out


def test_tokens_of_an_unknown_vocabulary(eyas, folder: Path) -> None:
    write(folder / "pair", [[70_000, 5, 0], [6, 0]], np.int32)
    code, out, err = eyas("inspect", "pair")
    assert (code, err) == (0, "")
    assert "2 documents, 5 tokens (ids)" in " ".join(out.split())
    assert "[[70000 5 ]]" in out
    code, _, err = eyas("inspect", "pair", "--tokenizer", "world")
    assert (code, "pair.bin document 1: token 70000 is outside" in err) == (2, True)


def test_options_of_reading(eyas, folder: Path) -> None:
    (folder / "d.data").write_bytes('{"问": "你好", "答": "世界"}\n'.encode("gbk"))
    reading = ("--data-type", "jsonl", "--map", "问:user,答:assistant", "--encoding", "gbk")
    code, out, err = eyas("inspect", "d.data", *reading)
    assert (code, err) == (0, "")
    assert "User: 你好\n\nAssistant:[[ 世界]]" in out


def test_a_folder_of_which_one_kind_is_looked_at(eyas, folder: Path) -> None:
    lines(folder / "mixed" / "a.jsonl", "a record of the folder")
    (folder / "mixed" / "b.txt").write_text("a text of the folder")
    code, _, err = eyas("inspect", "mixed")
    assert (code, "choose with --data-type" in err) == (2, True)
    for kind in ("jsonl", "txt"):
        code, out, err = eyas("inspect", "mixed", "--data-type", kind)
        assert (code, err) == (0, "")
        assert "documents 1 documents" in " ".join(out.split())


def test_markers_that_are_tokens(eyas) -> None:
    marked = ("--mask", "se", "--mask-id", "59", "--mask-id", "11", "--tokenizer", "world-bytes")
    code, out, err = eyas("inspect", "d.jsonl", *marked)
    assert (code, err) == (0, "")
    assert "User:[[ 0\n]]\nAssistant:[[ number 0]]" in out  # from ":" to the line end


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in the file system")
def test_pipes_and_links_that_lead_nowhere(eyas, folder: Path) -> None:
    os.mkfifo(folder / "pipe.jsonl")
    (folder / "lost.jsonl").symlink_to("gone.jsonl")
    for name, said in {
        "pipe.jsonl": "pipe.jsonl: is no regular file but a pipe",
        "lost.jsonl": "lost.jsonl: is a link to gone.jsonl, which is not there",
    }.items():
        code, _, err = eyas("inspect", name)
        assert (code, err.startswith(f"eyas: {said}"), err.count("\n")) == (2, True, 1)


MISTAKES = {
    "no such file": (("none.jsonl",), "none.jsonl: no such file"),
    "empty folder of data": (("empty", "--ctx", "5"), "empty: is a folder that is neither"),
    "options of another file": (("m.pth", "--ctx", "5"), "m.pth: is an RWKV model"),
    "fix of another file": (("m.pth", "--fix", "n.pth"), "options go with training data only"),
    "options beside fix": (("d.jsonl", "--fix", "e.jsonl", "--ctx", "5"), "leave --ctx out"),
    "tokenizer": (("d.jsonl", "--tokenizer", "wrld"), "did you mean 'world'"),
    "accumulate": (("d.jsonl", "--accumulate", "0"), "accumulate = 0 must be at least 1"),
    "context": (("d.jsonl", "--ctx", "0"), "ctx must be at least 1"),
    "encoding": (("d.jsonl", "--encoding", "gkb"), "did you mean 'gbk'"),
    "validation": (("d.jsonl", "--validation", "none.jsonl"), "none.jsonl: no such file"),
    "png": (("d.jsonl", "--png", "none/l.png"), "the folder none does not exist"),
    "png over the data": (
        ("d.jsonl", "--png", "d.jsonl"),
        "png = d.jsonl: the picture's name must",
    ),
    "fix in no folder": (
        ("d.jsonl", "--fix", "none/e.jsonl"),
        "eyas: none/e.jsonl: the folder none",
    ),
}


@pytest.mark.parametrize(("arguments", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_exit_2(
    eyas, folder: Path, arguments: tuple[str, ...], said: str
) -> None:
    (folder / "empty").mkdir()
    before = sorted(folder.rglob("*"))
    data = (folder / "d.jsonl").read_bytes()
    code, _, err = eyas("inspect", *arguments)
    assert code == 2
    assert err.startswith("eyas: ")
    assert err.count("\n") == 1
    assert said in err
    assert sorted(folder.rglob("*")) == before
    assert (folder / "d.jsonl").read_bytes() == data


def test_other_files_are_described_as_before(eyas) -> None:
    code, out, err = eyas("inspect", "m.pth")
    assert (code, err) == (0, "")
    assert out.startswith("an RWKV model: x070")
    assert "Next: eyas train m.pth DATA.jsonl" in out
