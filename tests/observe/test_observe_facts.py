"""What is told of the machine, against what the system tells."""

import os
import platform
import subprocess
import sys

import psutil
import pytest
import torch

from eyas.observe.facts import hardware, versions


def test_hardware() -> None:
    found = hardware(torch.device("cpu"))
    assert found["memory"] == f"{psutil.virtual_memory().total / 2**30:.1f} GiB"
    assert found["cores"] == os.cpu_count()
    assert found["threads"] == torch.get_num_threads()
    assert found["device"] == "cpu"
    assert found["processor"]


@pytest.mark.skipif(sys.platform != "linux", reason="lscpu is Linux's")
def test_the_processor_is_named() -> None:
    listed = subprocess.run(["lscpu"], capture_output=True, text=True, check=True).stdout
    assert str(hardware(torch.device("cpu"))["processor"]) in listed


def test_versions() -> None:
    found = versions()
    assert found["python"] == platform.python_version()
    assert found["torch"] == torch.__version__
    assert {"eyas", "system"} <= found.keys()
    assert "deepspeed" not in found or found["deepspeed"]
