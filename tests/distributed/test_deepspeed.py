"""DeepSpeed itself trains as one process of PyTorch does, and each goes on where the other was.

Nothing of it is compiled, which is checked. The processes have a time limit all the same: a
compile of DeepSpeed's that was killed leaves a lock on which the next one waits for ever.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from deepspeed_worker import BEGUN, CLOSE, EXACT, HALF, STEPS, named
from ranks_worker import case_run, trained
from tolerance import assert_close

from eyas.adapters import load_adapter
from eyas.errors import UserError
from eyas.quant import FrozenConfig
from eyas.settings import Run
from eyas.training import deepspeed
from eyas.training.deepspeed import check_deepspeed
from eyas.training.engine import EngineConfig
from eyas.training.optim import OptimConfig
from eyas.training.ranks import Ranks

WORKER = Path(__file__).with_name("deepspeed_worker.py")
SECONDS = 120
needs_deepspeed = pytest.mark.skipif(
    find_spec("deepspeed") is None,
    reason="DeepSpeed is not installed; pip install 'eyas[deepspeed]'",
)
Results = dict[str, dict[str, list[float]]]


def torch_run(folder: Path, quant: str, clip: float, steps: int = STEPS, name: str = "") -> Run:
    run = case_run(folder, "ddp", quant, 1, steps, name or f"torch {quant} {clip:g}")
    return replace(run, optim=replace(run.optim, clip=clip))


def work(folder: Path, *launcher: str) -> None:
    """Runs the worker, alone or as the launcher starts it."""
    path = os.pathsep.join([str(WORKER.parent), str(WORKER.parents[1])])
    compiled = folder / "compiled"
    done = subprocess.run(
        [sys.executable, *launcher, str(WORKER), str(folder)],
        env={
            **os.environ,
            "PYTHONPATH": path,
            "OMP_NUM_THREADS": "1",
            "TORCH_EXTENSIONS_DIR": str(compiled),
        },
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[:6000]
    assert not compiled.exists()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of one process on PyTorch, of two on DeepSpeed, and of one that goes on with theirs."""
    folder = tmp_path_factory.mktemp("deepspeed")
    alone = {
        f"{quant} {clip:g}": trained(torch_run(folder, quant, clip), Ranks())
        for quant, clip in sorted({case[1:] for case in EXACT + CLOSE})
    }
    (folder / "torch.json").write_text(json.dumps(alone))
    for strategy in BEGUN:
        trained(torch_run(folder, "none", 0.0, HALF, f"torch to {strategy}"), Ranks())
    work(folder, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone")
    for strategy in BEGUN:
        shutil.copytree(folder / f"{strategy} begun", folder / f"{strategy} to torch")
    work(folder)
    return folder


def results(folder: Path, name: str) -> Results:
    found: Results = json.loads((folder / f"{name}.json").read_text())
    return found


def close(actual: list[float], expected: list[float]) -> None:
    assert len(actual) == len(expected)
    assert_close(torch.tensor(actual), torch.tensor(expected))  # as float32


@needs_deepspeed
@pytest.mark.parametrize(("strategy", "quant", "clip"), EXACT + CLOSE)
def test_two_processes_train_as_one_of_torch(
    folder: Path, strategy: str, quant: str, clip: float
) -> None:
    case, exact = (strategy, quant, clip), (strategy, quant, clip) in EXACT
    alone = results(folder, "torch")[f"{quant} {clip:g}"]
    for rank in (0, 1):
        found = results(folder, f"{rank} of 2")[named(*case)]
        close(found["losses"], alone["losses"])
        close(found["norms"], alone["norms"])
        close(found["held_out"], alone["held_out"])
        assert not exact or found["losses"] == alone["losses"]
    ours, theirs = (
        load_adapter(folder / name / "adapter.safetensors").tensors
        for name in (named(*case), f"torch {quant} {clip:g}")
    )
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert_close(tensor, theirs[name])
        assert not exact or tensor.equal(theirs[name])


@needs_deepspeed
@pytest.mark.parametrize(("strategy", "quant", "clip"), EXACT + CLOSE)
def test_what_each_process_holds_of_the_frozen_base(
    folder: Path, strategy: str, quant: str, clip: float
) -> None:
    case = named(strategy, quant, clip)
    shares = [results(folder, f"{rank} of 2")[case]["share"] for rank in (0, 1)]
    if "stage_3" in strategy:
        assert max(shares) < 0.55
    else:
        assert shares == [1.0, 1.0]


@needs_deepspeed
@pytest.mark.parametrize("strategy", BEGUN)
def test_going_on_with_another_engine_and_number_of_processes(folder: Path, strategy: str) -> None:
    rest = results(folder, "torch")["none 0"]["losses"][HALF:]
    close(results(folder, "0 of 2")[f"torch to {strategy}"]["losses"], rest)
    close(results(folder, "0 of 1")[f"{strategy} begun"]["losses"], rest)
    here = trained(torch_run(folder, "none", 0.0, STEPS, f"{strategy} to torch"), Ranks())
    close(here["losses"], rest)


def test_what_a_strategy_is_on_deepspeed() -> None:
    two = EngineConfig(strategy="deepspeed_stage_2_offload", engine="deepspeed")
    assert two.what() == "DeepSpeed's ZeRO stage 2, the optimizer in main memory"
    assert not two.sharded
    three = EngineConfig(strategy="deepspeed_stage_3", engine="deepspeed")
    assert three.what() == "DeepSpeed's ZeRO stage 3"
    assert three.sharded
    assert EngineConfig(engine="deepspeed").zero_stage == 1


def check(
    strategy: str = "auto",
    optimizer: str = "adamw",
    precision: str = "fp32",
    embedding_on_cpu: bool = False,
    chunked_state: bool = False,
) -> None:
    check_deepspeed(
        EngineConfig(strategy=strategy, engine="deepspeed"),
        OptimConfig(optimizer=optimizer),
        FrozenConfig(embedding_on_cpu=embedding_on_cpu),
        precision,
        chunked_state,
    )


def test_what_deepspeed_cannot_do_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deepspeed, "find_spec", lambda _: object())
    check("deepspeed_stage_2", precision="bf16", chunked_state=True)
    for wrong in (
        {"optimizer": "muon"},
        {"precision": "fp16"},
        {"embedding_on_cpu": True},
        {"strategy": "deepspeed_stage_3_offload", "chunked_state": True},
    ):
        with pytest.raises(UserError, match=r"leave .*out"):
            check(**wrong)
    monkeypatch.setattr(deepspeed, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install 'eyas\[deepspeed\]'"):
        check()
    for strategy in ("ddp", "fsdp"):
        with pytest.raises(ValueError, match=f"strategy = {strategy}: is PyTorch's own"):
            EngineConfig(strategy=strategy, engine="deepspeed")
