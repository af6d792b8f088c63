"""A site that stands in for those on the network."""

from collections.abc import Iterator

import pytest
from model_site import Site, model_site


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)  # of retries
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 10_000)  # not 10 MB
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with model_site() as found:
        yield found
