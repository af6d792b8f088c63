"""Finding and loading the shared library, and the types of its functions."""

import ctypes
import hashlib
import sys
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent
_PATH = _FOLDER / ("compiled.dll" if sys.platform == "win32" else "compiled.so")
_BUILD = "reinstall eyas where there is a C++ compiler (pip install -e . in a clone)"


def library() -> ctypes.CDLL | None:
    """The library, or None where there is none that can be used; `missing` says why."""
    return _load(_PATH)[0]


def missing() -> str:
    """Why there is no library and what to do, in one line; "" where there is one."""
    problem = _load(_PATH)[1]
    return problem and f"eyas runs without its compiled part ({problem}), slower: {_BUILD}"


def sources_hash(folder: Path) -> str:
    """Of the C++ sources in `folder`; "" where there are none, as in an installed wheel."""
    paths = sorted([*folder.glob("*.cpp"), *folder.glob("*.h")])
    # Line endings are the business of whoever checked the files out.
    content = b"\0".join(path.read_bytes().replace(b"\r\n", b"\n") for path in paths)
    return hashlib.sha256(content).hexdigest()[:16] if paths else ""


@cache
def _load(path: Path) -> tuple[ctypes.CDLL | None, str]:
    """The library and "", or None and what is wrong."""
    if not path.exists():
        return None, "it was not built"
    try:
        found = ctypes.CDLL(str(path))
        found.eyas_sources.restype = ctypes.c_char_p
        built_from = found.eyas_sources().decode()
    except (OSError, AttributeError) as error:
        return None, f"it cannot be loaded: {' '.join(str(error).split())}"
    if sources_hash(path.parent) not in ("", built_from):
        return None, "it was built from other sources"
    return found, ""
