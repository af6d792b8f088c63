"""Writing files so that a reader sees the old one or the new one, never half of either."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eyas.errors import UserError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_NO_FOLDER_FLUSH = {errno.EINVAL, errno.EBADF, errno.ENOTSUP}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def atomic_path(path: Path, needed_bytes: int = 0) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it at the end of the block.

    The caller creates a file there (or a folder with files, where `path` does not exist yet).
    At the end everything is flushed to the disk (fsync) and then renamed; whatever is raised in
    the block, KeyboardInterrupt included, removes the temporary and leaves `path` as it was.
    A link is followed: the file it leads to is replaced.

    Raises UserError where the folder is missing, may not be written, or has fewer than
    `needed_bytes` free, and where the disk is full in the middle.
    """
    target = Path(os.path.realpath(path))
    _check_target(path, target)
    _check_space(path, target.parent, needed_bytes)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, target)
    except BaseException as error:
        _remove(temporary)
        problem = _problem(error, path, temporary, needed_bytes)
        if problem:
            raise UserError(problem) from error
        raise
    _flush_folder(target.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a whole file atomically; errors as `atomic_path`."""
    with atomic_path(path, len(content)) as temporary:
        temporary.write_bytes(content)


def remove_temporaries(folder: Path) -> None:
    """Removes what killed processes left half written in `folder`.

    Only for a folder that no other process is writing to, such as a locked run directory.
    """
    for left_over in folder.glob(".*.tmp"):
        _remove(left_over)


def is_disk_full(error: BaseException | None) -> bool:
    """Whether `error`, or one that led to it, says that the disk or the user's quota is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        # Libraries written in Rust (safetensors, tokenizers) carry the number in their text only.
        if f"(os error {errno.ENOSPC})" in str(error):
            return True
        # torch.save into an open file raises a RuntimeError while it handles the OSError.
        error = error.__cause__ or error.__context__
    return False


def _check_target(path: Path, target: Path) -> None:
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
    """What to tell the user, or "" where the error is not about writing here."""
    if is_disk_full(error):
        needs = f" ({needed_bytes:,} bytes are needed)" if needed_bytes else ""
        return f"{path}: the disk is full{needs}; free some space or name another place"
    if not isinstance(error, OSError):
        return ""
    if error.errno in _REFUSED and error.filename == str(temporary):
        return f"{path}: may not be written ({error.strerror}); name another place"
    if error.errno == errno.EFBIG:
        return f"{path}: too large for a file on this file system; name a place on another one"
    return ""


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
    if temporary.is_dir():
        shutil.rmtree(temporary)
    else:
        temporary.unlink(missing_ok=True)
