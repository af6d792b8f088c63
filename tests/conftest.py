"""For all tests: shapes and types of every annotated function are checked, and one thread each."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the programs that tests start, too

import torch
from jaxtyping import install_import_hook

install_import_hook("eyas", "beartype.beartype")
torch.set_num_threads(1)
