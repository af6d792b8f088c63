"""What a user writes for a model that is not here: a short name, or OWNER/REPO/FILE.

rwkv7-g1d-0.1b                  BlinkDL/rwkv7-g1/FILE.pth               on Hugging Face
modelscope:rwkv7-g1d-0.1b       modelscope:OWNER/REPO/FILE              on ModelScope
"""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from eyas.config import did_you_mean
from eyas.errors import UserError
from eyas.hub.catalogue import Released, released, released_as

Site = Literal["huggingface", "modelscope"]

_MODELSCOPE = "modelscope:"
_PART = re.compile(r"[A-Za-z0-9][\w.+%-]*")
_SUFFIXES = (".pth", ".safetensors")


@dataclass(frozen=True)
class Wanted:
    """A file of a repository, and where it is kept below the folder of models."""

    name: str  # as it was written
    site: Site
    repo: str
    file: str
    place: PurePosixPath
    known: Released | None


def wanted(name: str) -> Wanted | None:
    """The file that is meant; None where it is written as a path, or as a name that is unknown."""
    rest = name.removeprefix(_MODELSCOPE)
    site: Site = "huggingface" if rest == name else "modelscope"
    if known := released_as(rest):
        return _of_known(name, site, known)
    parts = rest.split("/")
    if len(parts) >= 3 and all(map(_PART.fullmatch, parts)) and rest.endswith(_SUFFIXES):
        repo, file = "/".join(parts[:2]), "/".join(parts[2:])
        kept = PurePosixPath(*(["modelscope"] if site == "modelscope" else []), rest)
        return Wanted(name, site, repo, file, kept, None)
    return None


def check_path(name: str) -> None:
    """Raises UserError where it can be no path that was mistyped: models have a suffix."""
    word = _PART.fullmatch(name) and not name.lower().endswith((*_SUFFIXES, ".gguf", ".st"))
    if not word and not name.startswith(_MODELSCOPE):
        return
    names = [model.name for model in released()]
    raise UserError(
        f"{name}: no such file or folder, and no released model of that name"
        f"{did_you_mean(name.removeprefix(_MODELSCOPE), names)}; known are {', '.join(names)}; any "
        "other is OWNER/REPO/FILE, or modelscope:OWNER/REPO/FILE"
    )


def _of_known(name: str, site: Site, known: Released) -> Wanted:
    repo = known.repo if site == "huggingface" else known.modelscope
    if repo is None:
        raise UserError(
            f"{name}: no copy on ModelScope is known; take {known.name}, or name one as "
            "modelscope:OWNER/REPO/FILE"
        )
    # The same file, wherever it came from.
    return Wanted(name, site, repo, known.file, PurePosixPath(known.repo, known.file), known)
