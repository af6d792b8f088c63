"""A model from nothing, for `--load_model ""`: its shape by the flags, as RWKV-LM makes it."""

from itertools import chain
from pathlib import Path

import torch

from eyas.data.characters import Characters
from eyas.data.reading import is_tokens, read_documents
from eyas.errors import UserError
from eyas.exporting.pth import Entry, write_pth
from eyas.models import Shape, create
from eyas.rwkv_peft.flags import Given
from eyas.rwkv_peft.meaning import NEW_MODEL, Plan

VOCABULARY = "vocab.json"
_WORLD = 65536
_CHARACTERS = ("utf-8", "utf-16le", "dummy")
_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def make_model(plan: Plan, folder: Path) -> None:
    """Writes rwkv-init.pth, and vocab.json where it is one of characters.

    Raises UserError where the flags do not say what model it is to be.
    """
    given = plan.given
    if plan.run.method.name != "full":
        raise UserError(
            f"--load_model is empty: --peft {given['peft']} needs a base model; give one, or train "
            "a new model whole with --peft none"
        )
    needed = [name for name in ("n_layer", "n_embd", "my_testing") if name not in given]
    if needed:
        raise UserError(
            f"--load_model is empty: for a new model say --{' and --'.join(needed)} too, or give "
            "the path of a base model"
        )
    shape = new_shape(given, _vocabulary(plan, folder))
    dtype = _TYPES.get(given["precision"], torch.float32)
    tensors = create(shape, plan.run.seed).state_dict()
    write_pth(
        folder / NEW_MODEL,
        [
            Entry(name, tuple(t.shape), dtype, lambda t=t: t.to(dtype))
            for name, t in tensors.items()
        ],
    )


def new_shape(given: Given, vocab_size: int) -> Shape:
    """As RWKV-PEFT at 5b8aac9 (2025-06) chose it. Raises UserError for what is none."""
    version, width, head = given["my_testing"], given["n_embd"], given["head_size_a"]
    if version not in ("x052", "x060", "x070"):
        raise UserError(f"--my_testing {version}: there are x052, x060 and x070")
    if given["n_layer"] < 2 or head < 1 or width < head or width % head:
        raise UserError(
            f"--n_layer {given['n_layer']} --n_embd {width}: a new model has at least 2 layers, "
            f"and its width is a multiple of --head_size_a {head}"
        )
    ffn = given["dim_ffn"] or (4 * width if version == "x070" else int(width * 3.5) // 32 * 32)
    ranks = {"x052": {}, "x060": _ranks6(width), "x070": _ranks7(width)}[version]
    return Shape(version, given["n_layer"], width, width // head, ffn, vocab_size, ranks)


def _ranks6(width: int) -> dict[str, int]:
    large = 2 if width == 4096 else 1
    return {"mix": 32 * large, "decay": 64 * large}


def _ranks7(width: int) -> dict[str, int]:
    def near(size: float) -> int:
        return max(32, round(size / 32) * 32)

    slow, gate = near(1.8 * width**0.5), near(0.6 * width**0.8)
    return {"w": slow, "a": slow, "v": near(1.3 * width**0.5), "g": 128 if width == 1024 else gate}


def _vocabulary(plan: Plan, folder: Path) -> int:
    """The rows of embedding and head."""
    size: int = plan.given["vocab_size"]
    if size:
        return size
    run = plan.run
    if any(is_tokens(source, run.reading) for source in run.data):
        raise UserError("--vocab_size 0: tokens do not tell their vocabulary; say 65536 for World")
    if run.reading.data_type not in _CHARACTERS:
        return _WORLD
    documents = chain.from_iterable(read_documents(source, run.reading) for source in run.data)
    vocabulary = Characters.of(span.text for document in documents for span in document.spans)
    vocabulary.save(folder / VOCABULARY)
    return vocabulary.vocab_size
