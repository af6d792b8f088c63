"""Finding, loading and checking the compiled part, and building it where there is a compiler."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import eyas
from eyas import native
from eyas.native.loading import _load, sources_hash

FOLDER = Path(eyas.__file__).parent / "native"
ROOT = FOLDER.parents[2]


def test_here_it_is_used_if_there_is_a_compiler():
    if shutil.which("c++"):
        assert native.missing() == ""
    assert (native.library() is None) == bool(native.missing())


@pytest.mark.parametrize(
    ("content", "problem"), [(None, "it was not built"), (b"no library", "it cannot be loaded")]
)
def test_without_a_library_one_line_says_why(tmp_path, content, problem):
    path = tmp_path / "compiled.so"
    if content:
        path.write_bytes(content)
    library, why = _load(path)
    assert library is None
    assert problem in why
    assert "\n" not in why


def test_the_hash_is_of_the_sources_alone(tmp_path):
    assert sources_hash(tmp_path) == ""
    (tmp_path / "a.cpp").write_bytes(b"int a;\n")
    first = sources_hash(tmp_path)
    (tmp_path / "a.py").write_bytes(b"")
    (tmp_path / "a.cpp").write_bytes(b"int a;\r\n")
    assert sources_hash(tmp_path) == first
    (tmp_path / "b.h").write_bytes(b"")
    assert sources_hash(tmp_path) != first


@pytest.mark.skipif(native.library() is None, reason="no library")
def test_a_library_of_other_sources_is_not_used(tmp_path):
    for name in ("alone", "beside"):
        (tmp_path / name).mkdir()
        shutil.copy(next(FOLDER.glob("compiled.*")), tmp_path / name / "compiled.so")
    (tmp_path / "beside" / "trie.cpp").write_text("int changed;\n")
    assert _load(tmp_path / "alone" / "compiled.so")[1] == ""
    problem = "it was built from other sources"
    assert _load(tmp_path / "beside" / "compiled.so") == (None, problem)


@pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="no clone")
def test_a_build_without_a_compiler_succeeds(tmp_path):
    command = ["setup.py", "-q", "build_ext", "--build-temp", tmp_path, "--build-lib", tmp_path]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={"CC": "/nonexistent", "CXX": "/nonexistent", "PATH": "/nonexistent"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("compiled.*"))
