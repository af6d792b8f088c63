"""Atomic writing: the old file or the new one, and never a left-over."""

import errno
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from eyas import files
from eyas.errors import UserError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_writes_a_new_file(tmp_path: Path) -> None:
    files.write_bytes(tmp_path / "a.bin", b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"new"
    assert names(tmp_path) == ["a.bin"]


def test_old_content_stays_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with files.atomic_path(path) as temporary:
        temporary.write_bytes(b"new")
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".a.bin.")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_failure_removes_the_temporary(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail() -> None:
        with files.atomic_path(path) as temporary:
            temporary.write_bytes(b"half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_a_folder_is_renamed_whole(tmp_path: Path) -> None:
    with files.atomic_path(tmp_path / "step-10") as temporary:
        (temporary / "inner").mkdir(parents=True)
        (temporary / "inner" / "x").write_bytes(b"1")
    assert (tmp_path / "step-10" / "inner" / "x").read_bytes() == b"1"
    assert names(tmp_path) == ["step-10"]


def test_failure_removes_a_temporary_folder(tmp_path: Path) -> None:
    def fail() -> None:
        with files.atomic_path(tmp_path / "step-10") as temporary:
            temporary.mkdir()
            (temporary / "x").write_bytes(b"1")
            raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        fail()
    assert names(tmp_path) == []


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "real.bin").write_bytes(b"old")
    (tmp_path / "link.bin").symlink_to(tmp_path / "disk" / "real.bin")
    files.write_bytes(tmp_path / "link.bin", b"new")
    assert (tmp_path / "link.bin").is_symlink()
    assert (tmp_path / "disk" / "real.bin").read_bytes() == b"new"


def test_disk_full_is_the_users_to_mend(tmp_path: Path) -> None:
    def fail() -> None:
        with files.atomic_path(tmp_path / "a.bin", needed_bytes=1_000) as temporary:
            temporary.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(UserError, match=r"a\.bin: the disk is full \(1,000 bytes are needed\)"):
        fail()
    assert names(tmp_path) == []


def test_the_final_place_is_named_however_deep(tmp_path: Path) -> None:
    def fail(number: int) -> None:
        with files.atomic_path(tmp_path / "step-10") as folder:
            folder.mkdir()
            with files.atomic_path(folder / "a.bin"):
                raise OSError(number, os.strerror(number), str(folder / "other"))

    with pytest.raises(UserError, match=r"/step-10/a\.bin: the disk is full"):
        fail(errno.ENOSPC)
    with pytest.raises(UserError, match=r"/step-10: may not be written \(Read-only file system\)"):
        fail(errno.EROFS)
    (tmp_path / ".step-10.0123abcd.tmp").mkdir()
    inside = files.atomic_path(tmp_path / ".step-10.0123abcd.tmp" / "a.bin", needed_bytes=10**18)
    with pytest.raises(UserError, match=r"/step-10/a\.bin: needs"), inside:
        pass
    assert files.final_path(Path("/.a.b.0123abcd.tmp/.c/.d.tmp/e")) == Path("/a.b/.c/.d.tmp/e")
    assert names(tmp_path) == [".step-10.0123abcd.tmp"]


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    def fail(error: Exception) -> None:
        with files.atomic_path(tmp_path / "a.bin"):
            raise error

    # The text is safetensors' own, under `ulimit -f 8`.
    for error in (
        OSError(errno.EFBIG, "File too large"),
        RuntimeError("I/O error: File too large (os error 27)"),
    ):
        with pytest.raises(UserError, match=r"a\.bin: may not become so large here"):
            fail(error)


def test_refusals_in_errors_of_rust_libraries(tmp_path: Path) -> None:
    def fail(error: Exception) -> None:
        with files.atomic_path(tmp_path / "a.bin"):
            raise error

    with pytest.raises(UserError, match=r"a\.bin: may not be written \(Permission denied\)"):
        fail(RuntimeError("I/O error: Permission denied (os error 13) at path"))
    with pytest.raises(UserError, match=r"^b: cannot be read \(os error 13\)$"):
        fail(UserError("b: cannot be read (os error 13)"))


def test_an_error_of_the_removal_does_not_hide_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, missing_ok: bool = False) -> None:  # noqa: ARG001
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)

    def fail() -> None:
        with files.atomic_path(tmp_path / "a.bin") as temporary:
            temporary.write_bytes(b"half")
            raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        fail()


def test_names_too_long_for_the_file_system(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x: may not be written \(File name too long\)"):
        files.write_bytes(tmp_path / ("x" * 250), b"")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_files_get_the_mode_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with files.atomic_path(tmp_path / "a.safetensors") as temporary:
            save_file({"a": torch.zeros(1)}, temporary)
    finally:
        os.umask(before)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == 0o640


def test_errors_without_a_name_get_one(tmp_path: Path) -> None:
    for given, named in ((None, tmp_path), ("x", Path("x"))):
        with pytest.raises(OSError, match="full") as caught, files.naming(tmp_path):
            raise OSError(errno.ENOSPC, "full", given)
        assert caught.value.filename == str(named)


def test_disk_full_is_noticed_in_errors_of_rust_libraries() -> None:
    # The text is safetensors' own, taken from a full disk.
    assert files.is_disk_full(RuntimeError("I/O error: No space left on device (os error 28)"))
    assert not files.is_disk_full(RuntimeError("I/O error: Is a directory (os error 21)"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_disk_full_is_noticed_behind_another_error(tmp_path: Path) -> None:
    def fail() -> None:
        with files.atomic_path(tmp_path / "a.bin"), open("/dev/full", "wb", buffering=0) as full:
            torch.save(torch.zeros(1000), full)

    with pytest.raises(UserError, match="disk is full"):
        fail()


def test_too_little_space_is_told_before_the_work(tmp_path: Path) -> None:
    started = False
    with (
        pytest.raises(UserError, match=r"needs 1,000,000,000,000,000,000 bytes, and [\d,]+ are"),
        files.atomic_path(tmp_path / "a.bin", needed_bytes=10**18),
    ):
        started = True
    assert not started


def test_missing_folder_and_folder_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing does not exist; create it"):
        files.write_bytes(tmp_path / "missing" / "a.bin", b"")
    with pytest.raises(UserError, match="exists and is not a file"):
        files.write_bytes(tmp_path, b"")


def test_a_device_is_never_replaced() -> None:
    with pytest.raises(UserError, match="/dev/null: exists and is not a file"):
        files.write_bytes(Path("/dev/null"), b"x")


def test_refused_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, _content: bytes) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(UserError, match=r"a\.bin: may not be written \(Permission denied\)"):
        files.write_bytes(tmp_path / "a.bin", b"x")


def test_errors_about_other_files_pass_unchanged(tmp_path: Path) -> None:
    def fail() -> None:
        with files.atomic_path(tmp_path / "a.bin"):
            (tmp_path / "other").read_bytes()

    with pytest.raises(FileNotFoundError, match="other"):
        fail()


def test_remove_temporaries_takes_only_left_overs(tmp_path: Path) -> None:
    for name in (".a.bin.0123abcd.tmp", "b.tmp", ".hidden"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".step-1.0123abcd.tmp").mkdir()
    files.remove_temporaries(tmp_path)
    assert names(tmp_path) == [".hidden", "b.tmp"]
