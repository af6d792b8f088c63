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


DOCUMENTS = [[1, 2, 0], [3, 0]]
FLAGS = [[False, True, True], [False, True]]


def masked(prefix: Path) -> Path:
    pair(prefix, DOCUMENTS)
    pair(prefix.with_name(f"{prefix.name}.mask"), FLAGS, "B")
    return prefix


@pytest.mark.parametrize("suffix", ["", ".bin", ".idx"])
def test_a_mask_is_read_from_beside_the_tokens(tmp_path: Path, suffix: str) -> None:
    masked(tmp_path / "x")
    read = binidx.read(tmp_path / f"x{suffix}")
    assert documents_of(read) == DOCUMENTS
    assert read.trained is not None
    assert read.trained.dtype == np.bool_
    assert read.trained.tolist() == [False, True, True, False, True]
    assert isinstance(read.trained, np.memmap)


def test_without_a_mask_everything_is_trained(tmp_path: Path) -> None:
    assert binidx.read(pair(tmp_path / "x", DOCUMENTS)).trained is None


def test_a_mask_goes_with_items_in_any_order(tmp_path: Path) -> None:
    save(tmp_path / "x", struct.pack("<3H", 1, 2, 3), index([1, 2], [4, 0], [0, 1, 2], 8))
    save(tmp_path / "x.mask", b"\0\0\1", index([1, 2], [2, 0], [0, 1, 2], 1))
    read = binidx.read(tmp_path / "x")
    assert documents_of(read) == [[3], [1, 2]]
    assert read.trained is not None
    assert read.trained.tolist() == [True, False, False]


def test_bad_masks(tmp_path: Path) -> None:
    def problem(bin_content: bytes | None, idx_content: bytes | None) -> str:
        for suffix, content in ((".bin", bin_content), (".idx", idx_content)):
            path = tmp_path / f"x.mask{suffix}"
            path.unlink(missing_ok=True)
            if content is not None:
                path.write_bytes(content)
        with pytest.raises(UserError) as caught:
            binidx.read(tmp_path / "x")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    pair(tmp_path / "x", DOCUMENTS)
    flags = b"\0\1\1\0\1"
    good = index([3, 2], [0, 3], [0, 1, 2], 1)
    assert "x.mask.idx: no such file; a mask needs both files" in problem(flags, None)
    assert "x.mask.bin: no such file; a mask needs both files" in problem(None, good)
    assert "x.mask.idx: is not the index of a binidx pair" in problem(flags, b"")
    assert "x.mask.bin: has 4 bytes where x.mask.idx says 5" in problem(flags[:4], good)
    assert "x.mask.bin: holds other values than 0 and 1" in problem(b"\0\1\2\0\1", good)
    wide = index([3, 2], [0, 6], [0, 1, 2], 8)
    assert "x.mask.idx: holds uint16, where a mask holds uint8" in problem(bytes(10), wide)
    for other, size in [
        (index([2, 3], [0, 2], [0, 1, 2], 1), 5),
        (index([3], [0], [0, 1], 1), 3),
        (index([3, 2], [0, 3], [0, 2], 1), 5),
    ]:
        assert "x.mask.idx: is the mask of other data" in problem(bytes(size), other)


def test_masks_are_written_where_not_everything_is_trained(tmp_path: Path) -> None:
    written = binidx.write(tmp_path / "w", DOCUMENTS, np.uint16, FLAGS)
    assert (written.documents, written.tokens, written.trained) == (2, 5, 3)
    masked(tmp_path / "x")
    names = [f"{part}.{kind}" for part in ("w", "w.mask") for kind in ("bin", "idx")]
    for name in names:
        assert (tmp_path / name).read_bytes() == (tmp_path / f"x{name[1:]}").read_bytes()
    assert written.bytes == sum((tmp_path / name).stat().st_size for name in names)
    # Over it one that needs no mask: the old one would be of other data.
    written = binidx.write(tmp_path / "w", DOCUMENTS, np.uint16, [[True] * 3, [True] * 2])
    assert (written.masked, written.trained) == (False, 5)
    assert sorted(path.name for path in tmp_path.glob("w*")) == ["w.bin", "w.idx"]


def test_no_index_lies_beside_files_of_other_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masked(tmp_path / "x")
    seen = []

    def replace(source: Path, target: Path) -> None:
        seen.append((target.name, (tmp_path / "x.idx").exists()))
        os.rename(source, target)

    monkeypatch.setattr(os, "replace", replace)
    binidx.write(tmp_path / "x", [[7, 8], [9]], np.uint16, [[False, False], [True]])
    names = [name for name, _ in seen]
    assert names[-1] == "x.idx"
    assert sorted(names) == ["x.bin", "x.idx", "x.mask.bin", "x.mask.idx"]
    assert not any(there for _, there in seen)


def test_tokens_outside_the_vocabulary(tmp_path: Path) -> None:
    read = binidx.read(pair(tmp_path / "x", [[1, 2], [300, 0], [400]], "i"))
    places = ["first", "second", "third"]
    binidx.check_vocabulary(read, 401, places)
    with pytest.raises(UserError, match="second: token 300 is outside the model's vocab"):
        binidx.check_vocabulary(read, 300, places)
    negative = binidx.read(pair(tmp_path / "y", [[1], [-5]], "i"))
    with pytest.raises(UserError, match="second: token -5 is outside"):
        binidx.check_vocabulary(negative, 300, places)
