"""Token files without an index."""

import os
from pathlib import Path

import numpy as np
import pytest
from documents import written

from eyas.data.raw_tokens import read_numpy, read_uint16
from eyas.errors import UserError


@pytest.mark.parametrize("dtype", ["u1", "u2", "<i4", ">i4", "i8"])
def test_numpy_documents_end_with_token_0(tmp_path: Path, dtype: str) -> None:
    ids = [5, 6, 0, 7, 0, 0, 8, 9]
    np.save(tmp_path / "d.npy", np.array(ids, dtype))
    tokens, offsets = read_numpy(tmp_path / "d.npy")
    assert isinstance(tokens, np.memmap)
    assert tokens.tolist() == ids
    assert offsets.tolist() == [0, 3, 6, 8]


def test_numpy_at_its_ends(tmp_path: Path) -> None:
    for ids, expected in {
        (5,): [0, 1],
        (0,): [0, 1],
        (5, 0): [0, 2],
        (0, 0, 5): [0, 2, 3],
    }.items():
        np.save(tmp_path / "d.npy", np.array(ids))
        assert read_numpy(tmp_path / "d.npy")[1].tolist() == expected


def test_numpy_of_several_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eyas.data.raw_tokens._CHUNK", 3)
    ids = np.array([1, 2, 0, 3, 0, 0, 0, 4, 0])
    np.save(tmp_path / "d.npy", ids)
    assert read_numpy(tmp_path / "d.npy")[1].tolist() == [0, 3, 7, 9]
    ids[7] = -1
    np.save(tmp_path / "d.npy", ids)
    with pytest.raises(UserError, match="holds -1 at index 7"):
        read_numpy(tmp_path / "d.npy")


def test_uint16_rows(tmp_path: Path) -> None:
    path = written(tmp_path / "d.bin", bytes([1, 0, 0, 1, 255, 255, 0, 0, 2, 0, 3, 0]))
    tokens, offsets = read_uint16(path, 3)
    assert isinstance(tokens, np.memmap)
    assert tokens.tolist() == [1, 256, 65535, 0, 2, 3]
    assert offsets.tolist() == [0, 3, 6]


class Trap:
    """An object that does something when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.mkdir, ("sprung",))


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([1.0, 2.0]), "d.npy: holds float64, not integers; write tokens with numpy.save("),
        (np.array([True]), "d.npy: holds bool, not integers"),
        (np.ones((3, 2), np.int32), "d.npy: is an array of 3 × 2, not one-dimensional; lay its"),
        (np.array([1, 2, -5], np.int64), "d.npy: holds -5 at index 2; tokens are not negative"),
        (np.array([], np.int32), "d.npy: holds no tokens"),
        (np.array([Trap()]), "d.npy: is no numpy array of numbers, or is cut short ("),
    ],
)
def test_arrays_that_are_no_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, array: np.ndarray, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("d.npy", array)
    with pytest.raises(UserError) as caught:
        read_numpy(Path("d.npy"))
    assert str(caught.value).startswith(expected)
    assert not Path("sprung").exists()


def test_token_files_that_are_cut_short(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", np.arange(1, 100))
    content = (tmp_path / "d.npy").read_bytes()
    for bad in (content[:-1], content[:20], b"", b"no array"):
        with pytest.raises(UserError, match=r"d\.npy: is no numpy array of numbers, or is cut sh"):
            read_numpy(written(tmp_path / "d.npy", bad))
    with pytest.raises(UserError, match=r"gone\.npy: cannot be read \(No such file"):
        read_numpy(tmp_path / "gone.npy")
    for bad in (bytes(9), bytes(10), b""):
        with pytest.raises(
            UserError, match=r"has \d+ bytes, not whole rows of 2 tokens of 2 bytes"
        ):
            read_uint16(written(tmp_path / "d.bin", bad), 2)
    with pytest.raises(UserError, match=r"gone\.bin: cannot be read \(No such file"):
        read_uint16(tmp_path / "gone.bin", 2)
