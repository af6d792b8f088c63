"""RWKV-7 as flash-linear-attention has it, with HF peft's adapter: the same step as ours.

Both must be installed (`pip install flash-linear-attention peft`); without them the part is empty.
"""

from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec

import torch
from shapes import SHAPES, small
from steps import Case, measured_step
from timing import Row, Setting, each, fresh, peak_gb, seconds
from torch import nn

from eyas.models import Shape

LINEARS = ["r_proj", "k_proj", "v_proj", "o_proj", "ffn.key", "ffn.value"]


def peer_model(shape: Shape, setting: Setting, recompute: bool) -> nn.Module:
    from fla.models import RWKV7Config, RWKV7ForCausalLM
    from peft import LoraConfig, get_peft_model

    config = RWKV7Config(
        hidden_size=shape.width,
        num_hidden_layers=shape.num_layers,
        head_dim=shape.head_size,
        intermediate_size=shape.ffn_width,
        vocab_size=shape.vocab_size,
        decay_low_rank_dim=shape.ranks["w"],
        a_low_rank_dim=shape.ranks["a"],
        v_low_rank_dim=shape.ranks["v"],
        gate_low_rank_dim=shape.ranks["g"],
        use_cache=False,
    )
    with setting.device:
        model = RWKV7ForCausalLM(config).to(setting.dtype)
    if recompute:
        model.gradient_checkpointing_enable()
        model.enable_input_require_grads()
    rank = 8 if setting.dry else 32
    # Any start: the steps of PiSSA are as LoRA's.
    return get_peft_model(model, LoraConfig(r=rank, lora_alpha=rank, target_modules=LINEARS))


def peer_step(case: Case, setting: Setting) -> Row:
    shape = small(SHAPES[case.model]) if setting.dry else SHAPES[case.model]
    model = peer_model(shape, setting, case.recompute).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)
    rows, ctx = (2, 16) if setting.dry else (case.rows, case.ctx)
    tokens = torch.randint(1, shape.vocab_size, (rows, ctx), device=setting.device)

    def step() -> None:
        model(input_ids=tokens, labels=tokens).loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    fresh(setting.device)
    taken = seconds(step, setting, 5)
    return {"tokens_per_second": rows * ctx / taken, "peak_gb": peak_gb(setting.device)}


def pair(case: Case, setting: Setting) -> Row:
    """Theirs, then ours."""
    theirs = peer_step(case, setting)
    fresh(setting.device)
    ours = measured_step(case, setting)
    return {
        "peer_tokens_per_second": theirs["tokens_per_second"],
        "eyas_tokens_per_second": ours["tokens_per_second"],
        "eyas_over_peer": ours["tokens_per_second"] / theirs["tokens_per_second"],  # type: ignore[operator]
        "peer_peak_gb": theirs["peak_gb"],
        "eyas_peak_gb": ours["peak_gb"],
    }


def measured(setting: Setting) -> Iterator[Row]:
    if not (find_spec("fla") and find_spec("peft") and find_spec("fla.models")):
        yield {"case": "peer", "skipped": "flash-linear-attention or peft is not installed"}
        return
    if setting.device.type != "cuda":
        yield {"case": "peer", "skipped": "its kernels need CUDA"}
        return
    cases = [Case(m) for m in ("v7 1.5B", "v7 0.1B", "v7 0.4B")]
    cases.append(Case("v7 2.9B", recompute=True))
    yield from each({str(c): partial(pair, c, setting) for c in cases}, setting)
