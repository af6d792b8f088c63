"""One contender of `step.py`: trains a few steps in this process and prints what it took.

python benchmarks/step_contender.py FOLDER CONTENDER CTX STEPS

FOLDER holds model.pth, data.txt and, for the peer of RWKV-7, hf/. CONTENDER: a peer's name, or the
settings of an eyas run as JSON.
"""

import json
import resource
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from eyas import wkv
from eyas.adapters import PiSSA, attach
from eyas.data import Batch
from eyas.models import load
from eyas.run import prepare, train
from eyas.settings import run_from_mapping
from eyas.training.events import Step
from eyas.training.loss import batch_loss

RANK = 32
LINEARS = ["r_proj", "k_proj", "v_proj", "o_proj", "key", "value"]


def eyas(folder: Path, settings: dict[str, dict[str, object]], ctx: int, steps: int) -> dict:
    values = {
        "model": str(folder / "model.pth"),
        "data": str(folder / "data.txt"),
        "out": str(folder / f"run{time.time_ns()}"),
        "method": {"name": "pissa", "rank": RANK},
        "batch": {"ctx": ctx, "micro_batch": 1},
        "frozen": settings["frozen"],
        "loop": {"steps": steps + 1, "save_every": 999, "validate_every": 999}
        | settings.get("loop", {}),
        "watch": {"mfu": False, "report": False},
        **settings.get("run", {}),
    }
    before = gemm_flops()
    prepared = prepare(run_from_mapping(values, "benchmark"))
    taken = [event for event in train(prepared) if isinstance(event, Step)]
    seconds, peak = [step.seconds for step in taken[1:]], taken[-1].peak_bytes / 2**20
    gemm = max(before, gemm_flops())
    tokens = torch.randint(1, prepared.model.shape.vocab_size, (1, ctx + 1))
    batch = Batch(tokens[:, :-1], tokens[:, 1:], None, ctx, ((),))
    with FlopCounterMode(display=False) as counter:
        batch_loss(prepared.model, batch)[0].backward()  # without what is computed again
    flops = counter.get_total_flops()
    return {"seconds": seconds, "peak_mib": peak, "flops": flops, "gemm": gemm}


def gemm_flops(size: int = 2048) -> float:
    """Of a product of two float32 matrices, a second: the median of seven."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    out = torch.empty(size, size)
    taken = []
    for _ in range(8):
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        taken.append(time.perf_counter() - start)
    return 2 * size**3 / median(taken[1:])


def hf_peft(folder: Path, ctx: int, steps: int, bf16: bool = False) -> dict:
    from peft import LoraConfig, get_peft_model
    from rwkv7_hf import RWKV7ForCausalLM

    base = RWKV7ForCausalLM.from_pretrained(folder / "hf", dtype=torch.float32)
    config = LoraConfig(
        r=RANK, lora_alpha=RANK, target_modules=LINEARS, init_lora_weights="pissa_niter_4"
    )
    model = get_peft_model(base, config).train()
    tokens = torch.randint(1, base.config.vocab_size, (1, ctx))

    def loss() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            found: Tensor = model(input_ids=tokens, labels=tokens, use_cache=False).loss
        return found

    return trained(loss, model.parameters(), steps)


def loop_in_pytorch(folder: Path, ctx: int, steps: int) -> dict:
    model = load(folder / "model.pth", dtype=torch.float32, backend=wkv.reference)
    attach(model, PiSSA(rank=RANK, svd_niter=4))
    tokens = torch.randint(1, model.shape.vocab_size, (1, ctx + 1))

    def loss() -> Tensor:
        logits, _ = model(tokens[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())

    return trained(loss, model.parameters(), steps)


def trained(loss: Callable[[], Tensor], parameters: Iterable[nn.Parameter], steps: int) -> dict:
    chosen = [p for p in parameters if p.requires_grad]
    optimizer = torch.optim.AdamW(chosen, lr=1e-5)
    seconds = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        loss().backward()
        nn.utils.clip_grad_norm_(chosen, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - start)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"seconds": seconds[1:], "peak_mib": peak / 2**20}


PEERS = {
    "rwkv7-hf + peft": hf_peft,
    "rwkv7-hf + peft, bf16 autocast": partial(hf_peft, bf16=True),
    "loop in PyTorch": loop_in_pytorch,
}


def main() -> None:
    folder, who, ctx, steps = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    if who in PEERS:
        print(json.dumps(PEERS[who](folder, ctx, steps)))
    else:
        print(json.dumps(eyas(folder, json.loads(who), ctx, steps)))


if __name__ == "__main__":
    main()
