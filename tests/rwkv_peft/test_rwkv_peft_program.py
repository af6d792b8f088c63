"""The programs as they are started: in a clone, by a script, as a module, without eyas."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from shell_words import SCRIPTS, quick
from tolerance import assert_close
from weights import write_model

from eyas.rwkv_peft.program import main

ROOT = SCRIPTS.parent


def started(command: list[str], folder: Path, path: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{path}{os.environ['PATH']}"
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def in_the_clone(
    folder: Path, name: str, *more: tuple[str, str]
) -> subprocess.CompletedProcess[str]:
    """A script of a clone, its paths and sizes filled in, from the folder that has train.py."""
    for part in ("train.py", "merge"):
        (folder / part).unlink(missing_ok=True)
        (folder / part).symlink_to(ROOT / part)
    script = (SCRIPTS / name).read_text()
    for old, new in (
        ("/home/rwkv/models/basemodel/3b.pth", "base.pth"), ("/home/rwkv/output_pissa", "my run"),
        ("/home/rwkv/data/lora-test", "d"), ("n_layer=32", "n_layer=2"), ("2560", "64"),
        ("=1000", "=4"), ("=512", "=32"), ('pissa_r":32', 'pissa_r":2'), ("65536", "256"), *more,
    ):  # fmt: skip
        script = script.replace(old, new)
    (folder / "script.sh").write_text(script)
    return started(["sh", "script.sh"], folder, f"{Path(sys.executable).parent}:")


def test_the_scripts_of_a_clone(folder: Path, done) -> None:
    """On two devices: what comes out is what one device makes of the same rows."""
    write_model(folder / "base.pth", "x060")
    two = ("--devices 1", "--devices 2"), ("micro_bsz=8", "micro_bsz=2")
    run = in_the_clone(folder, "run_pissa.sh", *two)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.count("step 2: saved") == 1
    assert (folder / "my run" / "report.html").exists()
    one = {
        "ctx_len": 32,
        "micro_bsz": 4,
        "epoch_steps": 2,
        "epoch_count": 1,
        "load_model": "base.pth",
    }
    rate, json = {"lr_init": 2e-5, "lr_final": 2e-5}, '{"pissa_r":2,"svd_niter":4}'
    done(*quick(**one, **rate, pissa_config=json, loss_mask="pad"))
    expected, found = (torch.load(folder / f / "rwkv-0.pth") for f in ("out", "my run"))
    assert list(expected) == list(found)
    for name, tensor in expected.items():
        assert_close(found[name], tensor)


PROGRAMS = ["train.py", *sorted(f"merge/{path.name}" for path in (ROOT / "merge").glob("*.py"))]


@pytest.mark.parametrize("name", PROGRAMS)
def test_without_eyas_they_say_what_to_do(name: str, tmp_path: Path) -> None:
    # -S leaves out what is installed.
    done = started([sys.executable, "-S", str(ROOT / name)], tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "eyas is not installed" in done.stderr
    assert "-m pip install -e ." in done.stderr


@pytest.mark.parametrize("name", PROGRAMS)
def test_with_eyas_they_get_to_the_flags(name: str, tmp_path: Path) -> None:
    done = started([sys.executable, str(ROOT / name), "--quaint", "nf4"], tmp_path)
    assert done.returncode == 2
    assert done.stderr.endswith(".py: no flag --quaint; did you mean '--quant'?\n")


def test_as_a_module(tmp_path: Path) -> None:
    done = started([sys.executable, "-m", "eyas.rwkv_peft", "train", "--ctx_lem", "5"], tmp_path)
    assert done.returncode == 2
    assert done.stderr == "train.py: no flag --ctx_lem; did you mean '--ctx_len'?\n"


def test_neither_train_nor_merge(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == main([]) == 2
    assert "say train or merge, and their flags; did you mean 'train'?" in capsys.readouterr().err
