"""Run as a program: llama.cpp's logits, and what its tokenizer makes of a text and back.

python llama_answers.py JOBS.pt: a list of (path, tokens, text); the answers are written over it.
"""

import sys

import torch
from llama_cpp import Llama

jobs = torch.load(sys.argv[1])
answers = []
for path, tokens, text in jobs:
    model = Llama(path, n_ctx=256, n_batch=256, n_threads=1, logits_all=True, verbose=False)
    model.eval(tokens)
    logits = torch.tensor(model.scores[: len(tokens)])
    ids = model.tokenize(text.encode(), add_bos=False)
    answers.append((logits, ids, model.detokenize(ids).decode(), model.token_eos()))
    model.close()
torch.save(answers, sys.argv[1])
