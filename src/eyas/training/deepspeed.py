"""The same training on DeepSpeed's ZeRO (Rajbhandari et al. 2020), by way of DeepSpeed itself.

stage 1   the optimizer's state is shared out among the processes
stage 2   the gradients too
stage 3   the weights too, the frozen and quantized base included; gathered as they are needed
offload   the optimizer's state, and in stage 3 the weights, wait in main memory

DeepSpeed sends the gradients, clips them and steps AdamW on flat parts of the trained tensors.
These are float32 masters already, whatever the activations are; so it is told of float32 alone and
rounds nothing to half precision: the model computes as it does without DeepSpeed. Its settings are
made here; it reads no file of the user's.
"""

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from eyas.errors import UserError
from eyas.models import Model
from eyas.quant import FrozenConfig
from eyas.training.engine import BatchLoss, Engine, EngineConfig, meet_alone, norm_of
from eyas.training.long import ChunkedRows
from eyas.training.optim import OptimConfig, Optimizer, State
from eyas.training.ranks import Ranks

_MOMENTS = ("exp_avg", "exp_avg_sq")
_LARGEST_BUCKET = 50_000_000  # elements that are sent at once; by default 2 GB of the device


def check_deepspeed(
    config: EngineConfig,
    optim: OptimConfig,
    frozen: FrozenConfig,
    precision: str,
    chunked_state: bool,
) -> None:
    """Raises UserError where DeepSpeed is not here, or cannot do what is asked for.

    chunked_state: an initial state is trained, on rows that are cut into chunks.
    """
    absent, ungraded = find_spec("deepspeed") is None, config.sharded and chunked_state
    problems = {
        "--engine deepspeed: DeepSpeed is not installed here; pip install 'eyas[deepspeed]', or "
        f"leave --engine out (--strategy {config.strategy} runs on PyTorch too)": absent,
        "--optimizer muon: needs whole matrices, and DeepSpeed's are flat and cut in parts; take "
        "adamw, or leave --engine out": optim.optimizer == "muon",
        "--precision fp16: its loss is scaled here and not by DeepSpeed; take bf16, or leave "
        "--engine out": precision == "fp16",
        "--embedding-on-cpu: DeepSpeed moves all of a model to the device; leave one of the two "
        "out": frozen.embedding_on_cpu,
        "--chunk: the initial state has a gradient in a row's first chunk only, and stage 3 wants "
        "one in each; take deepspeed_stage_2, or leave --engine out": ungraded,
    }
    for problem, is_there in problems.items():
        if is_there:
            raise UserError(problem)


def spread_by_deepspeed(
    model: Model,
    config: EngineConfig,
    optim: OptimConfig,
    ranks: Ranks,
    logit_l2: float = 0.0,
    recompute: bool = False,
    chunked: ChunkedRows | None = None,
) -> tuple[Engine, Optimizer]:
    """Puts a model, whose adapter is attached and which is on its device, into DeepSpeed's hands.

    The other processes are met already. The model's own parameters are changed.
    """
    if not dist.is_initialized():
        meet_alone()
    device = model.ln_out.weight.device.type
    module, optimizer = BatchLoss(model, logit_l2, recompute), ZeroOptimizer(model, optim)
    os.environ["LOCAL_RANK"] = str(ranks.local)  # it asks nowhere else, and at every step again
    deepspeed = _imported(device)
    engine, *_ = deepspeed.initialize(
        model=module,
        optimizer=optimizer.adamw,
        config=_settings(config, optim, model, device),
        dist_init_required=False,
    )
    if config.sharded:
        for part in (model.emb, model.head):  # are read without being called
            for parameter in part.parameters():
                deepspeed.zero.register_external_parameter(module, parameter)
    optimizer.take(engine)
    return ZeroEngine(model, engine, ranks, config.sharded, chunked), optimizer


def _settings(
    config: EngineConfig, optim: OptimConfig, model: Model, device: str
) -> dict[str, object]:
    """What DeepSpeed is told."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    bucket, matrix = min(trained, _LARGEST_BUCKET), model.shape.width**2
    blocks = sum(p.numel() for block in model.layers()[:2] for p in block.parameters())
    ends = sum(p.numel() for part in (model.emb, model.head) for p in part.parameters())
    main_memory = {"device": "cpu", "pin_memory": device == "cuda"}
    zero: dict[str, object] = {
        "stage": config.zero_stage,
        "reduce_bucket_size": bucket,
        "allgather_bucket_size": 2 * bucket,
        "stage3_param_persistence_threshold": 10 * model.shape.width,  # vectors stay whole
        # Its defaults would not let go of anything in a model of a billion parameters.
        "stage3_max_live_parameters": ends + blocks,
        "stage3_max_reuse_distance": matrix,
        "stage3_prefetch_bucket_size": matrix,
        "memory_efficient_linear": False,  # would change F.linear in the whole process
    }
    if config.offload:
        zero["offload_optimizer"] = main_memory
        if config.sharded:
            zero["offload_param"] = main_memory
    return {
        "zero_optimization": zero,
        "gradient_clipping": optim.clip,  # its default is 1.0
        # The batches of a step are summed by `backward`, which is told which one is the last.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        # AdamW is PyTorch's: DeepSpeed's own for main memory would have to be compiled.
        "zero_force_ds_cpu_optimizer": False,
    }


def _imported(device: str) -> Any:
    """DeepSpeed for that kind of device.

    When it is imported it chooses one by what the machine has, unless DS_ACCELERATOR is set.
    """
    before = os.environ.get("DS_ACCELERATOR")
    os.environ["DS_ACCELERATOR"] = device
    try:
        import deepspeed
    finally:
        del os.environ["DS_ACCELERATOR"]
        if before is not None:
            os.environ["DS_ACCELERATOR"] = before
    # Its collective for inference, which would be compiled for minutes at the first start.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    # It calls PyTorch by names that are going to change, at every step; nobody here can mend that.
    warnings.filterwarnings("ignore", "`torch.distributed", FutureWarning)
    return deepspeed


@dataclass(frozen=True)
class ZeroEngine(Engine):
    """A model in DeepSpeed's hands; `module` is its engine."""

    @contextmanager
    def _meeting(self, last: bool) -> Iterator[None]:
        self.module.set_gradient_accumulation_boundary(last)  # type: ignore[operator]
        yield

    def _let_go(self) -> None:
        self.module.optimizer.empty_partition_cache()  # type: ignore[union-attr, operator]

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        from deepspeed.utils import safe_get_full_fp32_param

        trained = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        return {
            name: safe_get_full_fp32_param(trained[name]).cpu() if name in trained else tensor
            for name, tensor in tensors.items()
        }


class ZeroOptimizer(Optimizer):
    """AdamW whose steps DeepSpeed takes, each rank on its part of the trained tensors."""

    def __init__(self, model: nn.Module, config: OptimConfig) -> None:
        super().__init__(model, config)
        (self.adamw,) = self.optimizers
        self.named = {n: p for n, p in model.named_parameters() if p.requires_grad}

    def take(self, engine: Any) -> None:
        """DeepSpeed's engine, which has this optimizer now.

        AdamW's state, zeros that it would make itself at its first step, is made here: a
        checkpoint's is put into it, and DeepSpeed finds only what there is before that step.
        """
        self.engine, self.zero = engine, engine.optimizer
        self.sharded = engine.zero_optimization_stage() == 3
        if self.sharded:
            self.parts = self.zero.fp32_partitioned_groups_flat
        else:
            self.parts = self.zero.single_partition_of_fp32_groups
        for part in self.parts:
            moments = {name: torch.zeros_like(part) for name in _MOMENTS}
            self.adamw.state[part] = {"step": torch.zeros((), device=part.device), **moments}
        if not self.sharded:
            from deepspeed.utils import lazy_init_hp_params_optimizer_state

            for group, part in zip(self.zero.bit16_groups, self.parts, strict=True):
                lazy_init_hp_params_optimizer_state(group, part, self.adamw.state)

    def step(self, learning_rate: float) -> None:
        self.set_rate(learning_rate)
        self.engine.step()

    def gradient_norm(self) -> float:
        """The 2-norm of the gradient over all parameters; DeepSpeed clips it in the step."""
        if not self.sharded:
            norm = float(self.zero.scaled_global_norm())
            return norm if norm >= 0 else float("nan")  # which it says with -1
        groups = self.zero.get_fp32_grad_partitions().values()
        here = norm_of([part for group in groups for part in group.values()])
        square = torch.tensor(here, dtype=torch.float64).square()
        dist.all_reduce(square)
        return square.sqrt().item()

    def state(self) -> State:
        from deepspeed.utils import safe_get_full_optimizer_state

        step = self.adamw.state[self.parts[0]]["step"].cpu()
        found: State = {}
        for name, parameter in self.named.items():
            values = {key: safe_get_full_optimizer_state(parameter, key).cpu() for key in _MOMENTS}
            if step and dist.get_rank() == 0:
                found[name] = {"step": step.clone(), **values}  # one for each, which counts it up
        return found

    def load(self, state: State) -> None:
        self.check_names(state)
        if other := [name for name, values in state.items() if not values.keys() >= {*_MOMENTS}]:
            raise ValueError(f"{other[0]} was not moved by AdamW")
        for name, values in state.items():
            for key in _MOMENTS:
                self._put(self.named[name], values[key], key)
        for part in self.parts if state else ():
            step = next(iter(state.values()))["step"]
            self.adamw.state[part]["step"].copy_(step)

    def _put(self, parameter: Any, value: Tensor, key: str) -> None:
        """This rank's part of a moment; in stage 3 the last one may be longer than what is left."""
        from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

        if not self.sharded:
            safe_set_full_optimizer_state(parameter, value, key)
            return
        size, flat = parameter.ds_tensor.numel(), value.flatten()
        flat = F.pad(flat, (0, size * dist.get_world_size() - len(flat)))
        safe_set_local_optimizer_state(parameter, flat.split(size)[dist.get_rank()], key)
