"""Fetching a file so that under its name there is the whole, checked file or none.

What has come is kept beside it under a hidden name, from where the next attempt goes on.
"""

import hashlib
import os
import shutil
from pathlib import Path

from eyas.errors import UserError
from eyas.hub.offers import Offer

_CHUNK = 1 << 22


def fetch(offer: Offer, target: Path) -> None:
    """Downloads to `target`, going on with what is there from an earlier attempt.

    Raises UserError where the content is not what was offered, or has no room; OSError and what
    the HTTP library raises where the connection breaks and does not come back.
    """
    # Imported here: half a second.
    from huggingface_hub.file_download import http_get

    target.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(target, offer.sha256)
    done = partial.stat().st_size if partial.exists() else 0
    if done > offer.size:
        partial.unlink()
        done = 0
    _check_room(target, offer.size - done)
    with partial.open("r+b" if done else "wb") as file:
        file.seek(done)
        http_get(
            offer.url,
            file,
            resume_size=done,
            headers=dict(offer.headers),
            expected_size=offer.size,
            displayed_filename=target.name,
        )
        file.flush()
        os.fsync(file.fileno())
    found = sha256_of(partial)
    if found != offer.sha256:
        partial.unlink()
        raise UserError(
            f"{offer.url}: what came has the SHA-256 {found} and not {offer.sha256}; it was "
            "removed; run the same again, or take another site"
        )
    os.replace(partial, target)


def partial_of(target: Path, sha256: str) -> Path:
    """Where the beginning of a file with this hash is kept until it is whole."""
    return target.with_name(f".{target.name}.{sha256[:8]}.partial")


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _check_room(target: Path, needed: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise UserError(
            f"{target}: needs {needed:,} bytes, and {free:,} are free there; free some space, or "
            "name another folder (eyas pull --out)"
        )
