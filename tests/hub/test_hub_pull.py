"""Downloads: under the final name there is the whole, checked file or none."""

import hashlib
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from model_site import Site

from eyas.errors import UserError
from eyas.hub import Wanted, pull, wanted

CONTENT = os.urandom(300_000)
NAMES = ["owner/repo/a.pth", "modelscope:owner/repo/a.pth"]


def file(name: str) -> Wanted:
    found = wanted(name)
    assert found
    return found


def problem(site: Site, name: str, target: Path, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        pull(file(name), target, endpoint=site.url, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def visible(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if not path.name.startswith(".")]


@pytest.fixture
def stocked(site: Site) -> Site:
    site.files["owner/repo/a.pth"] = CONTENT
    return site


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_download(stocked: Site, tmp_path: Path, name: str) -> None:
    target = tmp_path / "new" / "a.pth"
    assert pull(file(name), target, endpoint=stocked.url) == target
    assert target.read_bytes() == CONTENT
    assert stocked.sent == [""]
    pull(file(name), target, endpoint="http://127.0.0.1:9")  # nothing is asked any more
    assert pull(file(name), target, check=True, endpoint=stocked.url) == target
    assert stocked.sent == [""]
    assert visible(target.parent) == ["a.pth"]


@pytest.mark.parametrize("name", NAMES)
def test_a_connection_that_is_cut_goes_on(stocked: Site, tmp_path: Path, name: str) -> None:
    stocked.cuts = [100_000, 50_000]
    pull(file(name), tmp_path / "a.pth", endpoint=stocked.url)
    assert (tmp_path / "a.pth").read_bytes() == CONTENT
    assert stocked.sent == ["", "bytes=100000-", "bytes=150000-"]


def test_one_that_stays_cut_is_told_and_goes_on_later(stocked: Site, tmp_path: Path) -> None:
    stocked.cuts = [100_000, *[0] * 6]
    target = tmp_path / "a.pth"
    said = problem(stocked, NAMES[0], target)
    assert said.startswith("owner/repo/a.pth: could not be downloaded (peer closed connection")
    assert "run the same again to go on, or fetch" in said
    assert f"{stocked.url}/owner/repo/resolve/main/a.pth by hand and put it at {target}" in said
    assert visible(tmp_path) == []
    stocked.cuts, stocked.sent = [], []
    pull(file(NAMES[0]), target, endpoint=stocked.url)
    assert stocked.sent == ["bytes=100000-"]
    assert target.read_bytes() == CONTENT


def test_a_kill_leaves_no_file_under_the_name(stocked: Site, tmp_path: Path) -> None:
    stocked.cuts, stocked.stall = [100_000], True
    target = tmp_path / "a.pth"
    program = (
        "import sys; from pathlib import Path; from eyas.hub import pull, wanted; "
        "pull(wanted('owner/repo/a.pth'), Path(sys.argv[1]), endpoint=sys.argv[2])"
    )
    command = [sys.executable, "-c", program, str(target), stocked.url]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 30
        while not stocked.sent and time.monotonic() < deadline:
            stocked.released.wait(0.02)
        process.kill()
    assert stocked.sent == [""]
    assert visible(tmp_path) == []
    pull(file(NAMES[0]), target, endpoint=stocked.url)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("name", NAMES)
def test_another_content_than_was_told(stocked: Site, tmp_path: Path, name: str) -> None:
    stocked.sha256 = hashlib.sha256(b"other").hexdigest()
    said = problem(stocked, name, tmp_path / "a.pth")
    assert f"and not {stocked.sha256}; it was removed; run the same again" in said
    assert visible(tmp_path) == []
    assert not list(tmp_path.glob(".*.partial"))


def test_another_size_than_was_told(stocked: Site, tmp_path: Path) -> None:
    stocked.size = len(CONTENT) + 1
    said = problem(stocked, NAMES[0], tmp_path / "a.pth")
    assert "file should be of size 300001 but has size 300000" in said
    assert visible(tmp_path) == []


def test_a_known_model_must_be_the_known_file(stocked: Site, tmp_path: Path) -> None:
    known = file("rwkv7-g1d-0.1b")
    stocked.files[f"{known.repo}/{known.file}"] = CONTENT
    said = problem(stocked, "rwkv7-g1d-0.1b", tmp_path / "a.pth")
    assert "is another file than the one that is known (300,000 bytes" in said
    assert said.endswith(f"name it {known.repo}/{known.file}")
    assert stocked.sent == []


def test_what_lies_there_is_checked(stocked: Site, tmp_path: Path) -> None:
    target = tmp_path / "a.pth"
    target.write_bytes(CONTENT[:-1] + b"x")
    assert "is damaged (its SHA-256" in problem(stocked, NAMES[0], target, check=True)
    said = problem(stocked, "rwkv7-g1d-0.1b", target)
    assert "has 300,000 bytes, and rwkv7-g1d-0.1b has 382,223,725; remove it" in said
    known = file("rwkv7-g1d-0.1b")
    assert known.known
    hashed = replace(known.known, size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())
    placed = replace(known, known=hashed)
    with pytest.raises(UserError, match="is damaged"):
        pull(placed, target, check=True, endpoint="http://127.0.0.1:9")
    target.write_bytes(CONTENT)
    assert pull(placed, target, check=True, endpoint="http://127.0.0.1:9") == target


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rest", ["owner/repo/b.pth", "nobody/repo/a.pth"])
def test_a_file_that_is_nowhere(stocked: Site, tmp_path: Path, name: str, rest: str) -> None:
    asked = name.replace("owner/repo/a.pth", rest)
    said = problem(stocked, asked, tmp_path / "a.pth")
    assert said.startswith(f"{asked}: no such file here, and none at {stocked.url}/")
    assert "eyas models lists" in said
    assert ("hf auth login" in said) == (":" not in name)


@pytest.mark.parametrize("name", ["rwkv7-g1d-0.1b", "modelscope:rwkv7-g1d-0.1b"])
def test_without_a_network_it_says_what_to_fetch_and_where_to_put_it(
    tmp_path: Path, name: str
) -> None:
    target, found = tmp_path / "a.pth", file(name)
    with pytest.raises(UserError) as caught:
        pull(found, target, endpoint="http://127.0.0.1:9")
    said = str(caught.value)
    assert "\n" not in said
    assert "refused" in said
    assert f"http://127.0.0.1:9/{'models/' if ':' in name else ''}{found.repo}/resolve/" in said
    assert said.endswith(f"{found.file} by hand and put it at {target}")
    assert visible(tmp_path) == []


def test_a_disk_without_room(stocked: Site, tmp_path: Path) -> None:
    stocked.size = 1 << 60
    said = problem(stocked, NAMES[0], tmp_path / "a.pth")
    assert f"needs {1 << 60:,} bytes, and " in said
    assert visible(tmp_path) == []


def test_a_site_that_answers_nonsense(stocked: Site, tmp_path: Path) -> None:
    stocked.sha256 = "abc"
    for name in NAMES:
        assert "comes without size and SHA-256" in problem(stocked, name, tmp_path / "a.pth")
