"""Two processes train as one does: the same losses, bit for bit, under every strategy."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ranks_worker import CASES, HALF, STEPS, case_run, state_run, trained

from eyas.adapters import load_adapter
from eyas.errors import UserError
from eyas.training.ranks import Ranks, found_ranks, meeting_place

WORKER = Path(__file__).with_name("ranks_worker.py")


QUANTS = ("none", "int8", "nf4")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of one process, then those of two that torchrun has started."""
    folder = tmp_path_factory.mktemp("ranks")
    alone = {quant: trained(case_run(folder, "ddp", quant, 1), Ranks()) for quant in QUANTS}
    (folder / "alone.json").write_text(json.dumps(alone))
    for strategy in ("ddp", "fsdp"):
        trained(case_run(folder, strategy, "none", 1, HALF, f"{strategy} one-two"), Ranks())
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    path = os.pathsep.join([str(WORKER.parent), str(WORKER.parents[1])])
    done = subprocess.run(
        [*command, str(WORKER), str(folder)],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return folder


def results(folder: Path, name: str) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = json.loads((folder / f"{name}.json").read_text())
    return found


@pytest.mark.parametrize(("strategy", "quant"), CASES)
def test_two_processes_train_as_one(folder: Path, strategy: str, quant: str) -> None:
    alone = results(folder, "alone")[quant]
    for rank in (0, 1):
        found = results(folder, f"rank{rank}")[f"{strategy} {quant}"]
        assert found["losses"] == alone["losses"]
        assert found["tokens"] == alone["tokens"]
        assert found["norms"] == pytest.approx(alone["norms"])
        assert found["held_out"] == pytest.approx(alone["held_out"])
    ours, theirs = (
        load_adapter(folder / name / "adapter.safetensors").tensors
        for name in (f"ddp-{quant}-1", f"{strategy}-{quant}-2")
    )
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not ours[name].equal(theirs[name])] == []


@pytest.mark.parametrize(("strategy", "quant"), CASES)
def test_what_each_process_holds(folder: Path, strategy: str, quant: str) -> None:
    shares = [results(folder, f"rank{r}")[f"{strategy} {quant}"]["share"] for r in (0, 1)]
    if strategy in ("ddp", "deepspeed_stage_2"):
        assert shares == [1.0, 1.0]
    else:
        assert sum(shares) == pytest.approx(1.0)
        assert max(shares) < 0.55


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_going_on_with_fewer_or_more_processes(folder: Path, strategy: str) -> None:
    whole = results(folder, "alone")["none"]["losses"]
    two = results(folder, "rank0")
    assert two[f"{strategy} begun"]["losses"] == whole[:HALF]
    assert two[f"{strategy} rest"]["losses"] == whole[HALF:]
    rest = trained(case_run(folder, strategy, "none", 1, STEPS, f"{strategy} two-one"), Ranks())
    assert rest["losses"] == whole[HALF:]


def test_states_train_among_sharded_weights(folder: Path) -> None:
    """They are read before their block is gathered. Chunks add up in another order."""
    alone = trained(state_run(folder, "ddp", 1), Ranks())
    for rank in (0, 1):
        found = results(folder, f"rank{rank}")["state"]
        assert found["losses"] == pytest.approx(alone["losses"])
        assert found["norms"] == pytest.approx(alone["norms"])


def test_who_we_are() -> None:
    torchrun = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    assert found_ranks(torchrun) == Ranks(3, 8, 1, 2)
    batch = {"SLURM_PROCID": "5", "SLURM_NTASKS": "16", "SLURM_LOCALID": "1"}
    assert found_ranks(batch) is None
    task = {**batch, "SLURM_STEP_ID": "0", "SLURM_NTASKS_PER_NODE": "4"}
    assert found_ranks(task) == Ranks(5, 16, 1, 4)
    assert found_ranks({}) is None
    with pytest.raises(UserError, match=r"RANK WORLD_SIZE .* must be numbers"):
        found_ranks({**torchrun, "WORLD_SIZE": "two"})


def test_where_to_meet() -> None:
    assert meeting_place({"MASTER_ADDR": "gpu1", "MASTER_PORT": "29500"}) == "tcp://gpu1:29500"
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "gpu[07-09,12]"}
    assert meeting_place(job) == "tcp://gpu07:20007"
    assert meeting_place({**job, "SLURM_JOB_NODELIST": "a1,b2"}) == "tcp://a1:20007"
