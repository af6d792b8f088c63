"""For all tests: shapes and types are checked where tensors are at work, and one thread each."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the programs that tests start, too

import torch
from jaxtyping import install_import_hook

# Where functions are annotated with shapes. Checks cost too much for what is called a thousand
# times a file.
CHECKED = (
    *("adapters", "data", "evaluation", "fused", "generation", "merging"),
    *("models", "native", "quant", "serving", "training", "wkv"),
)

install_import_hook([f"eyas.{package}" for package in CHECKED], "checking.checked")
torch.set_num_threads(1)
