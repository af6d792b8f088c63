"""Run as a program: what RWKV Runner's Python backend makes of a model and of a state file.

python runner_answers.py JOBS.pt: a list of (path, state's path or "", tokens); the answers are
written over it: logits, one row a token. RWKV_RUNNER is the folder backend-python of its source.
"""

import argparse
import copy
import os
import sys

jobs_file = os.path.abspath(sys.argv[1])
sys.path.insert(0, os.environ["RWKV_RUNNER"])
os.chdir(os.environ["RWKV_RUNNER"])
import global_var  # noqa: E402
import torch  # noqa: E402
from utils.rwkv import RWKV, load_rwkv_state  # noqa: E402

global_var.init()
global_var.set(global_var.Args, argparse.Namespace(**{"webgpu": False, "rwkv.cpp": False}))
jobs = torch.load(jobs_file)
answers = []
for path, state_path, tokens in jobs:
    os.environ.pop("RWKV_V7_ON", None)
    sys.modules.pop("rwkv_pip.model", None)  # as the backend does between versions
    runner = RWKV(path, "cpu fp32", tokenizer="rwkv_vocab_v20230424")
    problem = load_rwkv_state(runner, state_path)
    assert problem is None, problem
    state = copy.deepcopy(runner.state_tuned)
    rows = []
    for token in tokens:
        logits, state = runner.model.forward([token], state)
        rows.append(torch.as_tensor(logits).float())
    answers.append(torch.stack(rows))
torch.save(answers, jobs_file)
