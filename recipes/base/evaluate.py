"""Measures the embedded base: copy accuracy and bits per byte of held-out tales.

    python recipes/base/evaluate.py MODEL.pth FOLDER

FOLDER is what `corpus.py` wrote. Copy accuracy is the share of the bytes of a repeated line that
are the likeliest next token; bits per byte are of the bytes alone, without end tokens.
"""

import argparse
import json
import math
from pathlib import Path

import torch

import eyas
from eyas.data import ReadConfig, read_documents, tokenizer_for
from eyas.models import Model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    model = eyas.load(given.model)
    result = {
        "copy_accuracy": round(copy_accuracy(model, given.folder / "heldout_copy.jsonl"), 4),
        "tales_bits_per_byte": round(bits_per_byte(model, given.folder / "heldout_tales.jsonl"), 4),
    }
    print(json.dumps(result))


@torch.inference_mode()
def copy_accuracy(model: Model, path: Path) -> float:
    right = total = 0
    for tokens in texts(model, path):
        half = len(tokens) // 2
        logits, _ = model(tokens[None, :-1])
        hits = logits[0].argmax(-1) == tokens[1:]
        right += int(hits[half - 1 :].sum())
        total += len(hits[half - 1 :])
    return right / total


@torch.inference_mode()
def bits_per_byte(model: Model, path: Path) -> float:
    nats, count = 0.0, 0
    for tokens in texts(model, path):
        logits, _ = model(tokens[None, :-1])
        nats += torch.nn.functional.cross_entropy(logits[0], tokens[1:], reduction="sum").item()
        count += len(tokens) - 1
    return nats / count / math.log(2)


def texts(model: Model, path: Path) -> list[torch.Tensor]:
    """The documents as tokens, without their end."""
    tokenizer = tokenizer_for(model.vocab_size, None, None)
    documents = read_documents(path, ReadConfig(mask="all"))
    return [torch.tensor(tokenizer.encode("".join(s.text for s in d.spans))) for d in documents]


if __name__ == "__main__":
    main()
