"""Paths that are not what they are called: folders, archives, pipes, links, closed files."""

import os
import zipfile
from pathlib import Path

import pytest
from documents import lines, problem, texts, written

GOOD = lines({"text": "a"}, {"text": "b"})


def test_a_folder_by_the_name_of_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "x.jsonl"
    folder.mkdir()
    assert "x.jsonl: holds no .jsonl, .json" in problem(folder)
    written(folder / "a.jsonl", GOOD)
    assert texts(folder) == ["a", "b"]


def test_a_zip_by_the_name_of_a_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "d.jsonl", "w") as archive:
        archive.writestr("inner.jsonl", GOOD)
    said = problem(tmp_path / "d.jsonl")
    assert said.startswith("d.jsonl: is a ZIP archive")
    assert "unpack it" in said


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in the file system")
def test_pipes_and_devices_are_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "d.jsonl"
    os.mkfifo(pipe)
    assert problem(pipe).startswith("d.jsonl: is no regular file but a pipe or a device; write")
    assert "d.jsonl: is no regular file" in problem(tmp_path)
    link = tmp_path / "null.jsonl"
    link.symlink_to("/dev/null")
    assert problem(link).startswith("null.jsonl: is no regular file")


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_that_lead_nowhere_and_in_circles(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    written(folder / "a.jsonl", GOOD)
    (folder / "again").symlink_to(folder)
    (folder / "beside").symlink_to(tmp_path)
    assert texts(folder) == ["a", "b"]
    circle = folder / "b.jsonl"
    circle.symlink_to(circle)
    assert problem(circle).startswith("b.jsonl: cannot be read (Too many levels")
    assert "b.jsonl: cannot be read (Too many levels" in problem(folder)
    circle.unlink()
    circle.symlink_to(tmp_path / "gone.jsonl")
    assert problem(circle) == "b.jsonl: cannot be read (No such file or directory); check the path"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_files_that_may_not_be_read(tmp_path: Path) -> None:
    path = written(tmp_path / "d.jsonl", GOOD)
    path.chmod(0)
    assert problem(path).startswith("d.jsonl: cannot be read (Permission denied)")
    folder = tmp_path / "folder"
    written(folder / "inner" / "d.jsonl", GOOD)
    (folder / "inner").chmod(0)
    assert "inner: cannot be read (Permission denied)" in problem(folder)
    (folder / "inner").chmod(0o700)
