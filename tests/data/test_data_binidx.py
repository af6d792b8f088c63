"""binidx files, laid out by hand here from the description of the format."""

import errno
import os
import struct
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eyas.data import binidx
from eyas.errors import UserError

CODES = {"B": 1, "b": 2, "h": 3, "i": 4, "q": 5, "H": 8}


def index(
    sizes: Sequence[int],
    pointers: Sequence[int],
    marks: Sequence[int],
    code: int,
    version: int = 1,
) -> bytes:
    return (
        b"MMIDIDX\x00\x00"
        + struct.pack("<Q", version)
        + struct.pack("<B", code)
        + struct.pack("<QQ", len(sizes), len(marks))
        + struct.pack(f"<{len(sizes)}i", *sizes)
        + struct.pack(f"<{len(pointers)}q", *pointers)
        + struct.pack(f"<{len(marks)}q", *marks)
    )


def save(prefix: Path, bin_content: bytes, idx_content: bytes) -> Path:
    prefix.with_name(prefix.name + ".bin").write_bytes(bin_content)
    prefix.with_name(prefix.name + ".idx").write_bytes(idx_content)
    return prefix


def pair(prefix: Path, documents: Sequence[Sequence[int]], letter: str = "H") -> Path:
    """The files as json2binidx_tool and make_data.py write them."""
    width = struct.calcsize(letter)
    sizes = [len(document) for document in documents]
    pointers = [width * sum(sizes[:at]) for at in range(len(sizes))]
    flat = [token for document in documents for token in document]
    return save(
        prefix,
        struct.pack(f"<{len(flat)}{letter}", *flat),
        index(sizes, pointers, range(len(sizes) + 1), CODES[letter]),
    )


def documents_of(read: binidx.TokenDocuments) -> list[list[int]]:
    bounds = read.offsets.tolist()
    return [read.tokens[a:b].tolist() for a, b in pairwise(bounds)]


@pytest.mark.parametrize("letter", CODES)
@pytest.mark.parametrize("suffix", ["", ".bin", ".idx"])
def test_every_integer_width_by_every_name(tmp_path: Path, letter: str, suffix: str) -> None:
    documents = [[1, 2, 0], [3, 100, 0], [0]]
    pair(tmp_path / "v1.2_text_document", documents, letter)
    path = tmp_path / f"v1.2_text_document{suffix}"
    assert binidx.is_binidx(path)
    read = binidx.read(path)
    assert documents_of(read) == documents
    assert read.numbers.tolist() == [1, 2, 3]
    assert read.tokens.dtype == np.dtype(letter)


def test_tokens_stay_on_the_disk(tmp_path: Path) -> None:
    assert isinstance(binidx.read(pair(tmp_path / "x", [[1, 0]])).tokens, np.memmap)


def test_documents_of_several_items_and_empty_ones(tmp_path: Path) -> None:
    content = struct.pack("<6H", *range(1, 7))
    marks = [0, 0, 2, 2, 3, 4, 4]
    path = save(tmp_path / "x", content, index([2, 1, 0, 3], [0, 4, 6, 6], marks, 8))
    read = binidx.read(path)
    assert documents_of(read) == [[1, 2, 3], [4, 5, 6]]
    assert read.numbers.tolist() == [2, 5]


def test_without_document_marks_each_item_is_one(tmp_path: Path) -> None:
    content = struct.pack("<3H", 1, 2, 3)
    for marks in ([], [0]):
        read = binidx.read(save(tmp_path / "x", content, index([2, 1], [0, 4], marks, 8)))
        assert documents_of(read) == [[1, 2], [3]]


def test_items_in_any_order(tmp_path: Path) -> None:
    content = struct.pack("<5i", 1, 2, 3, 4, 5)
    path = save(tmp_path / "x", content, index([2, 3], [12, 0], [0, 1, 2], 4))
    assert documents_of(binidx.read(path)) == [[4, 5], [1, 2, 3]]


GOOD = index([2, 1], [0, 4], [0, 1, 2], 8)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is not the index of a binidx pair"),
        (b"PK\x03\x04" + bytes(60), "is not the index of a binidx pair"),
        (GOOD[:20], "is not the index of a binidx pair, or is cut short"),
        (GOOD[:-1], "has 81 bytes where its header says 82"),
        (GOOD + b"\0", "has 83 bytes where its header says 82"),
        (GOOD[:18] + struct.pack("<QQ", 2**63, 2**62) + GOOD[34:], "where its header says"),
        (index([2, 1], [0, 4], [0, 1, 2], 8, version=2), "has version 2"),
        (index([2, 1], [0, 4], [0, 1, 2], 6), "holds floating-point numbers (dtype code 6)"),
        (index([2, 1], [0, 4], [0, 1, 2], 9), "holds an unknown type (dtype code 9)"),
        (index([2, 2], [0, 4], [0, 1, 2], 8), "x.bin: has 6 bytes where x.idx says 8"),
        (index([1, 1], [0, 4], [0, 1, 2], 8), "x.bin: has 6 bytes where x.idx says 4"),
        (index([4, -1], [0, 4], [0, 1, 2], 8), "has negative sizes or pointers"),
        (index([2, 1], [-2, 4], [0, 1, 2], 8), "has negative sizes or pointers"),
        (index([2, 1], [0, 6], [0, 1, 2], 8), "has pointers that do not fit x.bin"),
        (index([2, 1], [0, 2**63 - 1], [0, 1, 2], 8), "has pointers that do not fit x.bin"),
        (index([2, 1], [0, 3], [0, 1, 2], 8), "has pointers that do not fit x.bin"),
        (index([2, 1], [0, 4], [0, 1, 3], 8), "has document marks that do not run from 0"),
        (index([2, 1], [0, 4], [1, 2], 8), "has document marks that do not run from 0"),
        (index([2, 1], [0, 4], [0, 2, 1, 2], 8), "has document marks that do not run from 0"),
        (index([2, 1], [0, 4], [0, -1, 2], 8), "has document marks that do not run from 0"),
        (index([2, 1], [0, 4], [2], 8), "has document marks that do not run from 0"),
    ],
)
def test_bad_pairs(tmp_path: Path, content: bytes, problem: str) -> None:
    save(tmp_path / "x", struct.pack("<3H", 1, 2, 3), content)
    with pytest.raises(UserError) as caught:
        binidx.read(tmp_path / "x")
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files(tmp_path: Path) -> None:
    pair(tmp_path / "x", [[1]])
    (tmp_path / "x.idx").unlink()
    assert binidx.is_binidx(tmp_path / "x")
    with pytest.raises(UserError, match=r"x\.idx: no such file; binidx data needs both"):
        binidx.read(tmp_path / "x")
    assert not binidx.is_binidx(tmp_path / "y")
    with pytest.raises(UserError, match=r"y\.bin: no such file"):
        binidx.read(tmp_path / "y.bin")


def test_no_tokens(tmp_path: Path) -> None:
    for sizes, pointers, marks in [([], [], [0]), ([0, 0], [0, 0], [0, 1, 2])]:
        save(tmp_path / "x", b"", index(sizes, pointers, marks, 8))
        with pytest.raises(UserError, match="holds no tokens"):
            binidx.read(tmp_path / "x")


@pytest.mark.parametrize(("dtype", "letter"), [(np.uint16, "H"), (np.int32, "i")])
def test_written_files_are_those_of_the_format(tmp_path: Path, dtype: Any, letter: str) -> None:
    documents = [[1, 2, 0], [65535 if letter == "H" else 70000, 0]]
    binidx.write(tmp_path / "w", [documents[0], [], np.array(documents[1])], dtype)
    pair(tmp_path / "x", documents, letter)
    for suffix in (".bin", ".idx"):
        written = (tmp_path / f"w{suffix}").read_bytes()
        assert written == (tmp_path / f"x{suffix}").read_bytes()
    assert documents_of(binidx.read(tmp_path / "w")) == documents


def test_writing_no_documents(tmp_path: Path) -> None:
    binidx.write(tmp_path / "w", iter([]), np.uint16)
    assert (tmp_path / "w.bin").read_bytes() == b""
    assert (tmp_path / "w.idx").read_bytes() == index([], [], [0], 8)


@pytest.mark.parametrize("token", [65536, -1])
def test_tokens_that_do_not_fit_leave_everything_as_it_was(tmp_path: Path, token: int) -> None:
    pair(tmp_path / "x", [[1, 0]])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UserError, match=rf"x: document 2: token {token} does not fit uint16"):
        binidx.write(tmp_path / "x", [[1], [5, token]], np.uint16)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_full_disk_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    pair(tmp_path / "x", [[1, 0]])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="the disk is full"):
        binidx.write(tmp_path / "x", [[5]], np.uint16)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_other_types_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="uint32 is no dtype of binidx"):
        binidx.write(tmp_path / "x", [[1]], np.uint32)
