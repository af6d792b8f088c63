"""Run as a program: web-rwkv's logits after some beginnings of a text.

python web_answers.py JOBS.pt: a list of (path, tokens, lengths); the answers are written over it:
for each job the logits, one row a length, or why there are none.
"""

import sys

import torch
import web_rwkv_py

jobs = torch.load(sys.argv[1])
answers: list[object] = []
for path, tokens, lengths in jobs:
    try:
        model = web_rwkv_py.Model(path)
    except ValueError as error:
        answers.append(str(error))
        continue
    rows = []
    for length in lengths:
        model.clear_state()
        rows.append(model.run(tokens[:length]))
    answers.append(torch.tensor(rows))
torch.save(answers, sys.argv[1])
