"""What a command line says where it fails: one line on standard error."""

import os
import sys
from pathlib import Path

from eyas.errors import ToldElsewhereError, UserError
from eyas.files import final_path, is_disk_full, is_too_large


def complain(error: UserError, who: str) -> int:
    """Says what the user can mend; the exit code."""
    if not isinstance(error, ToldElsewhereError):
        print(f"{who}: {' '.join(str(error).splitlines())}", file=sys.stderr)
    return 2


def mendable(error: OSError) -> UserError:
    """What to tell of an error about a file or a disk. Raises the error itself about any other."""
    place = f"{final_path(Path(os.fsdecode(error.filename)))}: " if error.filename else ""
    if is_disk_full(error):
        return UserError(f"{place}the disk is full; free some space and run the same again")
    if is_too_large(error):
        return UserError(
            f"{place}a file may not become so large here; see ulimit -f, or name another place"
        )
    if not place:
        raise error
    return UserError(
        f"{place}{error.strerror}; check the path and its permissions, or name another place"
    )


def accept_any_text() -> None:
    """A console or pipe of another encoding (GBK on Windows) shows ? for what it cannot show."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
