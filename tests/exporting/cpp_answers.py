"""Run as a program: rwkv.cpp's logits of a .pth, by its own converter.

python cpp_answers.py JOBS.pt: a list of (path, tokens); the answers are written over it. RWKV_CPP
is the folder of its source, built in its subfolder build.
"""

import os
import subprocess
import sys
from pathlib import Path

import torch

home = Path(os.environ["RWKV_CPP"])
sys.path.insert(0, str(home / "python"))
from rwkv_cpp.rwkv_cpp_model import RWKVModel  # noqa: E402
from rwkv_cpp.rwkv_cpp_shared_library import RWKVSharedLibrary  # noqa: E402

library = RWKVSharedLibrary(str(next((home / "build").rglob("librwkv.so"))))
jobs = torch.load(sys.argv[1])
answers = []
for path, tokens in jobs:
    converted = f"{path}.bin"
    program = home / "python" / "convert_pytorch_to_ggml.py"
    subprocess.run([sys.executable, str(program), path, converted, "FP32"], check=True)
    model, state, rows = RWKVModel(library, converted, thread_count=1), None, []
    for token in tokens:
        logits, state = model.eval(token, state, use_numpy=True)
        rows.append(torch.tensor(logits))
    answers.append(torch.stack(rows))
    model.free()
torch.save(answers, sys.argv[1])
