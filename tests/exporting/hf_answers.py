"""Run as a program: what transformers makes of a folder, by rwkv7-hf's code.

python hf_answers.py JOBS.pt: a list of (path, tokens, text, messages); the answers are written
over it: logits, the text's tokens, these back as text, the messages as a prompt, the class.
"""

import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

jobs = torch.load(sys.argv[1])
answers = []
for path, tokens, text, messages in jobs:
    model = AutoModelForCausalLM.from_pretrained(path, trust_remote_code=True, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=True)
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0]
    ids = tokenizer(text).input_ids
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    answers.append((logits, ids, tokenizer.decode(ids), prompt, type(model).__module__))
torch.save(answers, sys.argv[1])
