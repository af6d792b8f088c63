"""What a site says of a file: where it is to be had, its size and its SHA-256.

Hugging Face: a HEAD of ENDPOINT/OWNER/REPO/resolve/main/FILE, X-Linked-Size and X-Linked-Etag.
ModelScope: ENDPOINT/api/v1/models/OWNER/REPO/repo/files, whose entries have Path, Size and Sha256;
the content is at …/repo?Revision=master&FilePath=FILE (modelscope_hub 0.5, `_legacy_api.py`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from eyas.errors import UserError
from eyas.hub.names import Wanted

MODELSCOPE = "https://modelscope.cn"

_TIMEOUT_SECONDS = 10.0
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LONGEST = 200  # characters of what a library says


@dataclass(frozen=True)
class Offer:
    """A file to be had. `headers` go with the request for it."""

    url: str
    headers: Mapping[str, str]
    size: int  # bytes
    sha256: str


def page_of(file: Wanted, endpoint: str | None = None) -> str:
    """Where a browser gets the file."""
    if file.site == "modelscope":
        return f"{endpoint or MODELSCOPE}/models/{file.repo}/resolve/master/{quote(file.file)}"
    from huggingface_hub import hf_hub_url

    return hf_hub_url(file.repo, file.file, endpoint=endpoint)


def offer_of(file: Wanted, endpoint: str | None = None) -> Offer:
    """What the site has. endpoint: of a mirror; by default HF_ENDPOINT's, or the site's own.

    Raises UserError where it has no such file, or tells neither size nor hash; OSError and what
    the HTTP library raises where it cannot be reached.
    """
    offer = _from_modelscope if file.site == "modelscope" else _from_huggingface
    return offer(file, endpoint)


def faults() -> tuple[type[Exception], ...]:
    """What a connection that fails or breaks raises, whichever HTTP library is below."""
    from huggingface_hub.errors import HfHubHTTPError

    return (*HfHubHTTPError.__bases__, OSError)


def said(error: Exception) -> str:
    """What a library's error says, on one line that is not too long."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _from_huggingface(file: Wanted, endpoint: str | None) -> Offer:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import (
        GatedRepoError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
    )
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    url = hf_hub_url(file.repo, file.file, endpoint=endpoint)
    try:
        found = get_hf_file_metadata(url, timeout=_TIMEOUT_SECONDS, endpoint=endpoint)
    except GatedRepoError as error:
        raise UserError(
            f"{file.name}: {file.repo} asks for your consent; give it on its page, then run "
            "hf auth login"
        ) from error
    except (RemoteEntryNotFoundError, RepositoryNotFoundError) as error:
        raise _missing(file, url) from error
    return _checked(file, url, build_hf_headers(), found.size, found.etag)


def _from_modelscope(file: Wanted, endpoint: str | None) -> Offer:
    from huggingface_hub import get_session, hf_raise_for_status
    from huggingface_hub.errors import HfHubHTTPError

    api = f"{endpoint or MODELSCOPE}/api/v1/models/{file.repo}/repo"
    listing = f"{api}/files?{urlencode({'Revision': 'master', 'Recursive': 'True'})}"
    try:
        response = get_session().get(listing, timeout=_TIMEOUT_SECONDS)
        hf_raise_for_status(response)
        entries = _entries(response.json())
    except HfHubHTTPError as error:
        if error.response.status_code != 404:
            raise
        raise _missing(file, page_of(file, endpoint)) from error
    except ValueError as error:
        raise UserError(f"{file.name}: {listing} is no list of files; try again later") from error
    entry = next((one for one in entries if one.get("Path") == file.file), None)
    if entry is None:
        raise _missing(file, page_of(file, endpoint))
    url = f"{api}?{urlencode({'Revision': 'master', 'FilePath': file.file})}"
    return _checked(file, url, {}, entry.get("Size"), entry.get("Sha256"))


def _entries(listing: Any) -> list[Mapping[str, Any]]:
    """Raises ValueError where the answer has not the form that is known."""
    try:
        files = listing["Data"]["Files"]
    except (KeyError, TypeError) as error:
        raise ValueError("no Data.Files") from error
    if not isinstance(files, list):
        raise ValueError("Data.Files is no list")
    return [one for one in files if isinstance(one, Mapping)]


def _checked(
    file: Wanted, url: str, headers: Mapping[str, str], size: object, sha256: object
) -> Offer:
    if not isinstance(size, int) or not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise UserError(
            f"{file.name}: {url} comes without size and SHA-256, so that it cannot be checked; "
            "download it by hand and name its path"
        )
    return Offer(url, headers, size, sha256)


def _missing(file: Wanted, url: str) -> UserError:
    # The site says the same of what is private, so as not to tell that it is there.
    private = ", or hf auth login where it is private" if file.site == "huggingface" else ""
    return UserError(
        f"{file.name}: no such file here, and none at {url}; check the name (eyas models lists "
        f"those that are known){private}"
    )
