"""Run as a program: logits of the `rwkv` package, which decides by environment at its import.

python rwkv_logits.py JOBS.pt: a list of (model path without suffix, tokens); the results, of a
forward over the sequence and of one token by token, are written over the file.
"""

import sys

import torch
from rwkv.model import RWKV

jobs = torch.load(sys.argv[1])
results = []
for path, tokens in jobs:
    model = RWKV(model=path, strategy="cpu fp32")
    whole, _ = model.forward(tokens, None, full_output=True)
    state, singly = None, []
    for token in tokens:
        logits, state = model.forward([token], state)
        singly.append(logits.clone())
    results.append((whole.float(), torch.stack(singly).float()))
torch.save(results, sys.argv[1])
