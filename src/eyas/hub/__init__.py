"""Released models by name: known ones, finding them here, and getting them.

    path = local_model("rwkv7-g1d-0.1b")             # downloaded the first time
    path = local_model("mine/base.pth")              # a path that exists is left as it is

They are kept in one folder, by repository: FOLDER/OWNER/REPO/FILE.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock

from eyas.errors import UserError
from eyas.files import is_disk_full
from eyas.hub.catalogue import Released, released
from eyas.hub.fetching import fetch, sha256_of
from eyas.hub.names import Wanted, check_path, wanted
from eyas.hub.offers import Offer, faults, offer_of, page_of, said

__all__ = ["Released", "Wanted", "local_model", "models_folder", "pull", "released", "wanted"]


def models_folder(environ: Mapping[str, str]) -> Path:
    """Where models are kept: eyas/models in the user's cache (XDG_CACHE_HOME, or ~/.cache)."""
    cache = environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "eyas" / "models"


def local_model(path: str | Path, folder: Path | None = None) -> Path:
    """The path of a model: as it is where something is there, else of what the name means.

    A released model that is not in `folder` (by default `models_folder`) yet is downloaded.
    What is written as a path and leads nowhere comes back as it is: its reader says so.

    Raises UserError for an unknown name, and as `pull`.
    """
    path = Path(path)
    if os.path.lexists(path) or path.is_absolute():
        return path
    name = path.as_posix()
    found = wanted(name)
    if found is None:
        check_path(name)
        return path
    if not found.known and os.path.isdir(path.parts[0]):
        return path  # a file is missing in a folder that is here
    return pull(found, (folder or models_folder(os.environ)) / found.place)


def pull(file: Wanted, target: Path, check: bool = False, endpoint: str | None = None) -> Path:
    """Downloads the file to `target` unless it is there, and gives that path.

    check: the SHA-256 of one that is there is compared too. endpoint: of a mirror.

    Raises UserError where the file cannot be had, or is not what it should be. Whatever happens,
    Ctrl-C included, `target` is the whole, checked file or none.
    """
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")):
            if not target.exists():  # another process may have fetched it meanwhile
                _download(file, target, endpoint)
                return target
    _check_size(file, target)
    if check:
        _check_hash(file, target, endpoint)
    return target


def _download(file: Wanted, target: Path, endpoint: str | None) -> None:
    page = page_of(file, endpoint)
    try:
        offer = offer_of(file, endpoint)
        _check_known(file, offer)
        fetch(offer, target)
    except faults() as error:
        if is_disk_full(error):
            raise UserError(f"{target}: the disk is full; free some space") from error
        raise UserError(
            f"{file.name}: could not be downloaded ({said(error)}); run the same again to go on, "
            f"or fetch {page} by hand and put it at {target}"
        ) from error


def _check_known(file: Wanted, offer: Offer) -> None:
    known = file.known
    if known and (offer.size, offer.sha256) != (known.size, known.sha256):
        raise UserError(
            f"{file.name}: {offer.url} is another file than the one that is known "
            f"({offer.size:,} bytes, SHA-256 {offer.sha256}, and not {known.size:,} bytes, "
            f"{known.sha256}); to take it all the same, name it {_spelled(file)}"
        )


def _check_size(file: Wanted, target: Path) -> None:
    size = target.stat().st_size
    if file.known and size != file.known.size:
        raise UserError(
            f"{target}: has {size:,} bytes, and {file.known.name} has {file.known.size:,}; remove "
            "it and run the same again"
        )


def _check_hash(file: Wanted, target: Path, endpoint: str | None) -> None:
    try:
        expected = file.known.sha256 if file.known else offer_of(file, endpoint).sha256
    except faults() as error:
        raise UserError(
            f"{target}: is there; whether it is whole cannot be told now ({said(error)})"
        ) from error
    if sha256_of(target) != expected:
        raise UserError(
            f"{target}: is damaged (its SHA-256 is not {expected}); remove it and run the same "
            "again"
        )


def _spelled(file: Wanted) -> str:
    prefix = "modelscope:" if file.site == "modelscope" else ""
    return f"{prefix}{file.repo}/{file.file}"
