"""Writing files so that a reader sees the old one or the new one, never half of either."""

import errno
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import IO

from eyas.errors import UserError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_NO_FOLDER_FLUSH = {errno.EINVAL, errno.EBADF, errno.ENOTSUP}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG}
_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}\.tmp")
_RUST = re.compile(r"\(os error (\d+)\)")


@contextmanager
def atomic_path(path: Path, needed_bytes: int = 0, replaces_folder: bool = False) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it at the end of the block.

    The caller creates a file there (or a folder with files, where `path` does not exist yet, or
    is a folder and `replaces_folder` says so: for a moment neither of the two is there then).
    At the end everything is flushed to the disk (fsync) and then renamed; whatever is raised in
    the block, KeyboardInterrupt included, removes the temporary and leaves `path` as it was.
    A link is followed: the file it leads to is replaced. A file gets the mode of any new file,
    whoever wrote it.

    Raises UserError where the folder is missing, may not be written, or has fewer than
    `needed_bytes` free, and where the disk is full in the middle.
    """
    target = Path(os.path.realpath(path))
    shown = final_path(path)
    _check_target(shown, target, replaces_folder)
    _check_space(shown, target.parent, needed_bytes)
    temporary = _temporary_beside(target)
    try:
        yield temporary
        if temporary.is_file():
            temporary.chmod(0o666 & ~_umask())  # safetensors makes files that others cannot read
        _flush(temporary)
        _take_place(temporary, target)
    except BaseException as error:
        _remove(temporary)
        problem = _problem(error, shown, temporary, needed_bytes)
        if problem:
            raise UserError(problem) from error
        raise
    _flush_folder(target.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a whole file atomically; errors as `atomic_path`."""
    with atomic_path(path, len(content)) as temporary:
        temporary.write_bytes(content)


def remove_temporaries(folder: Path, name: str = "") -> None:
    """Removes what killed processes left half written in `folder`, or of the file `name` alone.

    Only for what no other process is writing to, such as a locked run directory.
    """
    for left_over in folder.glob(f".{escape(name)}.*.tmp" if name else ".*.tmp"):
        _remove(left_over)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError of the block that names no file, as of a `write`, comes out naming this one."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


@contextmanager
def temporary_files(folder: Path | None = None) -> Iterator[Callable[[], IO[bytes]]]:
    """A function that opens files without a name in `folder`, or where the system keeps such.

    They are gone at the end of the block but for what is mapped of them. A full disk is told with
    the folder's name.
    """
    place = folder or Path(tempfile.gettempdir())
    with ExitStack() as stack:
        stack.enter_context(naming(place))
        yield lambda: stack.enter_context(tempfile.TemporaryFile(dir=place))


def final_path(path: Path) -> Path:
    """The place that a path in a temporary folder or file of `atomic_path` will have."""
    return Path(*(_TEMPORARY.sub(r"\1", part) for part in path.parts))


def is_disk_full(error: BaseException | None) -> bool:
    """Whether `error`, or one that led to it, says that the disk or the user's quota is full."""
    return not _FULL.isdisjoint(_numbers(error))


def is_too_large(error: BaseException | None) -> bool:
    """Whether `error`, or one that led to it, says that a file may not grow any more."""
    return errno.EFBIG in _numbers(error)


def _numbers(error: BaseException | None) -> set[int]:
    """The numbers of the system's errors, in `error` and in what led to it."""
    found = set()
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            found.add(error.errno)
        else:  # libraries written in Rust (safetensors, tokenizers) have it in their text only
            found.update(map(int, _RUST.findall(str(error))))
        # torch.save into an open file raises a RuntimeError while it handles the OSError.
        error = error.__cause__ or error.__context__
    return found


def _take_place(temporary: Path, target: Path) -> None:
    """Renames it. A folder that is there is put aside first, and back if that fails."""
    if not target.is_dir():
        os.replace(temporary, target)
        return
    old = _temporary_beside(target)
    os.rename(target, old)
    try:
        os.rename(temporary, target)
    except BaseException:
        os.rename(old, target)
        raise
    _remove(old)


def _temporary_beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")


def _check_target(path: Path, target: Path, replaces_folder: bool) -> None:
    if target.is_dir() and replaces_folder:
        return
    if target.exists() and not target.is_file():
        # Renaming over a device such as /dev/null would destroy it.
        raise UserError(f"{path}: exists and is not a file; name a file to write")
    if not target.parent.is_dir():
        raise UserError(f"{path}: the folder {path.parent} does not exist; create it first")


def _check_space(path: Path, folder: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise UserError(
            f"{path}: needs {needed_bytes:,} bytes, and {free:,} are free there; "
            "free some space or name another place"
        )


def _problem(error: BaseException, path: Path, temporary: Path, needed_bytes: int) -> str:
    """What to tell the user, or "" where the error is not about writing here, or told already."""
    if isinstance(error, UserError):
        return ""
    if is_disk_full(error):
        needs = f" ({needed_bytes:,} bytes are needed)" if needed_bytes else ""
        return f"{path}: the disk is full{needs}; free some space or name another place"
    if is_too_large(error):
        return f"{path}: may not become so large here (file system or ulimit); name another place"
    number = _refusal(error, temporary)
    return (
        f"{path}: may not be written ({os.strerror(number)}); name another place" if number else ""
    )


def _refusal(error: BaseException, temporary: Path) -> int:
    """The number of the system's error where it is that `temporary` may not be written, or 0."""
    number = 0
    if isinstance(error, OSError):
        if str(error.filename).startswith(str(temporary)):
            number = error.errno or 0
    elif not isinstance(error, UserError) and (found := _RUST.search(str(error))):
        number = int(found[1])
    return number if number in _REFUSED else 0


def _flush(written: Path) -> None:
    if written.is_dir():
        for inner in written.iterdir():
            _flush(inner)
        _flush_folder(written)
        return
    # Windows flushes only what is open for writing.
    descriptor = os.open(written, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folder(folder: Path) -> None:
    """Makes a rename last through a power cut; Windows neither needs nor allows it."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network and shared file systems cannot flush a folder; the rename is done.
        if error.errno not in _NO_FOLDER_FLUSH:
            raise
    finally:
        os.close(descriptor)


def _remove(temporary: Path) -> None:
    """Removes it if that can be done; what led here is what the user has to know."""
    with suppress(OSError):
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    """The process's file mode mask, which can be read only by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
