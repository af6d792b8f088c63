"""The streaming writer against torch's own: what it writes and how much it holds at a time."""

import errno
import io
import os
import struct
import weakref
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from eyas.errors import UserError
from eyas.exporting import pth
from eyas.exporting.pth import Entry, write_pth

DTYPES = [
    torch.bfloat16,
    torch.float16,
    torch.float32,
    torch.float64,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
]
SHAPES = [(), (1,), (3, 5), (1, 1, 7), (0,), (4, 0), (2, 3, 1, 2), (67,)]


def many_tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        f"blocks.{i}.weight": (torch.randn(SHAPES[i % 8], generator=generator) * 9).to(
            DTYPES[i % 10]
        )
        for i in range(300)
    }


def entries(tensors: dict[str, Tensor]) -> list[Entry]:
    return [Entry(name, t.shape, t.dtype, lambda t=t: t) for name, t in tensors.items()]


def assert_same(read: dict[str, Tensor], tensors: dict[str, Tensor]) -> None:
    assert type(read) is dict
    assert list(read) == list(tensors)
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype, name
        assert read[name].shape == tensor.shape, name
        assert read[name].is_contiguous(), name
        assert torch.equal(read[name], tensor), name


@pytest.mark.parametrize("mmap", [False, True])
def test_torch_reads_the_same_back(tmp_path: Path, mmap: bool) -> None:
    tensors = many_tensors()
    write_pth(tmp_path / "m.pth", entries(tensors))
    read = torch.load(tmp_path / "m.pth", map_location="cpu", weights_only=True, mmap=mmap)
    assert_same(read, tensors)


def test_same_pickle_as_torch_writes(tmp_path: Path) -> None:
    tensors = many_tensors()
    write_pth(tmp_path / "m.pth", entries(tensors))
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    expected = zipfile.ZipFile(buffer).read("archive/data.pkl")
    with zipfile.ZipFile(tmp_path / "m.pth") as archive:
        assert archive.read("archive/data.pkl") == expected


def data_offsets(path: Path) -> dict[str, int]:
    """Where the content of each record begins, from the local headers (APPNOTE.TXT 4.3.7)."""
    raw = path.read_bytes()
    offsets = {}
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            name, extra = struct.unpack_from("<HH", raw, info.header_offset + 26)
            offsets[info.filename] = info.header_offset + 30 + name + extra
    return offsets


@pytest.mark.parametrize("large", [2**30, 10])
def test_archive_is_sound_and_aligned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: int
) -> None:
    # With a limit of 10 bytes nearly every record takes the way of those above 4 GB.
    monkeypatch.setattr(pth, "_LARGE", large)
    tensors = many_tensors()
    write_pth(tmp_path / "m.pth", entries(tensors))
    with zipfile.ZipFile(tmp_path / "m.pth") as archive:
        assert archive.testzip() is None
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
    offsets = data_offsets(tmp_path / "m.pth")
    assert {offset % 64 for offset in offsets.values()} == {0}
    assert [name for name in offsets if name.startswith("archive/data/")] == [
        f"archive/data/{i}" for i in range(300)
    ]
    assert_same(torch.load(tmp_path / "m.pth", weights_only=True, mmap=True), tensors)


def test_offsets_beyond_the_old_zip_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # zipfile's limit, made small: the directory then holds 64-bit offsets and sizes.
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)
    monkeypatch.setattr(pth, "_LARGE", 500)
    tensors = {"a": torch.arange(400.0), "b": torch.arange(10), "c": torch.arange(999.0)}
    write_pth(tmp_path / "m.pth", entries(tensors))
    for mmap in (False, True):
        assert_same(torch.load(tmp_path / "m.pth", weights_only=True, mmap=mmap), tensors)


def test_views_and_gradients_are_written_plainly(tmp_path: Path) -> None:
    weight = torch.arange(12.0).reshape(3, 4).requires_grad_()
    write_pth(tmp_path / "m.pth", [Entry("t", (4, 3), weight.dtype, lambda: weight.T)])
    assert_same(torch.load(tmp_path / "m.pth"), {"t": weight.detach().T.contiguous()})


def test_equal_tensors_give_equal_files(tmp_path: Path) -> None:
    for name in ("a.pth", "b.pth"):
        write_pth(tmp_path / name, entries(many_tensors()))
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()


def test_one_tensor_is_alive_at_a_time(tmp_path: Path) -> None:
    alive: weakref.WeakSet[Tensor] = weakref.WeakSet()
    most = 0

    def make(i: int) -> Callable[[], Tensor]:
        def compute() -> Tensor:
            nonlocal most
            tensor = torch.full((8, 8), float(i))
            alive.add(tensor)
            most = max(most, len(alive))
            return tensor

        return compute

    lazily = (Entry(str(i), (8, 8), torch.float32, make(i)) for i in range(20))
    write_pth(tmp_path / "m.pth", lazily)
    assert most == 1
    assert not alive


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (torch.zeros(3, 2), r"w: announced as \(2, 3\) torch.float32, computed as \(3, 2\)"),
        (torch.zeros(2, 3).half(), r"computed as \(2, 3\) torch.float16"),
    ],
)
def test_a_tensor_unlike_its_announcement(tmp_path: Path, tensor: Tensor, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        write_pth(tmp_path / "m.pth", [Entry("w", (2, 3), torch.float32, lambda: tensor)])
    assert os.listdir(tmp_path) == []


def test_one_name_twice(tmp_path: Path) -> None:
    tensor = torch.zeros(1)
    twice = [Entry("w", (1,), tensor.dtype, lambda: tensor)] * 2
    with pytest.raises(ValueError, match="same name"):
        write_pth(tmp_path / "m.pth", twice)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_failure_leaves_the_old_file_alone(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "m.pth").write_bytes(b"old")

    def fail() -> Tensor:
        raise error

    made = entries(many_tensors())
    with pytest.raises(error):
        write_pth(tmp_path / "m.pth", [*made, Entry("last", (1,), torch.float32, fail)])
    assert os.listdir(tmp_path) == ["m.pth"]
    assert (tmp_path / "m.pth").read_bytes() == b"old"


def test_disk_full_before_the_work(tmp_path: Path) -> None:
    huge = [Entry("w", (2**60,), torch.float32, lambda: pytest.fail("computed"))]
    with pytest.raises(UserError, match=r"m\.pth: needs 4,611,686,018,427,\d+,\d+ bytes, and"):
        write_pth(tmp_path / "m.pth", huge)


@pytest.mark.parametrize("room", [100, 5_000, 60_000])
def test_disk_full_in_the_middle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    class SmallDisk(io.FileIO):
        def write(self, content: Any) -> int:
            if self.tell() + memoryview(content).nbytes > room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(content)

    monkeypatch.setattr(pth, "open", SmallDisk, raising=False)
    with pytest.raises(UserError, match=r"m\.pth: the disk is full \([\d,]+ bytes are needed\)"):
        write_pth(tmp_path / "m.pth", entries(many_tensors()))
    assert os.listdir(tmp_path) == []
