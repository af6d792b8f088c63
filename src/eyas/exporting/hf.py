"""A folder for transformers: RWKV-7 for `rwkv7-hf` and for flash-linear-attention.

Both know the model by the same names and settings (model_type rwkv7):

    model.embeddings, lm_head, model.norm, model.layers.i.attn_norm | ffn_norm | pre_norm
    attn.r_proj | k_proj | v_proj | o_proj | g_norm, attn.w_lora.lora.0 | 2 (w1, w2, w0), …

Both take head_size · 1e-5 as the epsilon of the time mix's norm, where RWKV-7 has 64e-5 whatever
the head size. At another head size than 64 the same function comes of

    c = sqrt(head_size / 64):        value <- c value        r_k <- r_k / c

as the norm of c y with c² epsilon is that of y with epsilon, and y is linear in the values.
Source: rwkv7-hf 0.9.0 (converter.py, modeling_rwkv7.py), flash-linear-attention 0.6.0.
"""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eyas.data import Tokenizer
from eyas.errors import UserError
from eyas.exporting.chat_template import CHAT_TEMPLATE
from eyas.exporting.pth import Entry
from eyas.exporting.safetensors_file import write_safetensors
from eyas.exporting.vocabulary import pieces
from eyas.exporting.weights import Weight, Weights
from eyas.files import atomic_path, write_bytes

VOCABULARY = "rwkv_vocab_v20230424.txt"
_HEAD_SIZE = 64  # that of which the epsilon is RWKV's own
_SHARD_BYTES = 5 * 10**9

_PLACES = {
    "emb.weight": "model.embeddings.weight",
    "head.weight": "lm_head.weight",
    "ln_out.weight": "model.norm.weight",
    "ln_out.bias": "model.norm.bias",
}
_NORMS = {"ln0": "pre_norm", "ln1": "attn_norm", "ln2": "ffn_norm"}
_ATTENTION = {
    "receptance": "r_proj",
    "key": "k_proj",
    "value": "v_proj",
    "output": "o_proj",
    "ln_x": "g_norm",
}
_LOW_RANK = {"0": "lora.2.bias", "1": "lora.0.weight", "2": "lora.2.weight"}
_UNUSED = tuple(f"blocks.0.att.v{number}" for number in "012")
_FILES = re.compile(
    r"model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json|(generation_)?config\.json|"
    r"(modeling|configuration|tokenization)_rwkv7\.py|tokenizer_config\.json|"
    + re.escape(VOCABULARY)
)

_MODEL_CODE = '''"""RWKV-7 as the package rwkv7-hf has it: pip install rwkv7-hf"""

from rwkv7_hf import RWKV7ForCausalLM, RWKV7Model

__all__ = ["RWKV7ForCausalLM", "RWKV7Model"]
'''
_CONFIG_CODE = '''"""RWKV-7's settings as the package rwkv7-hf has them: pip install rwkv7-hf"""

from rwkv7_hf import RWKV7Config

__all__ = ["RWKV7Config"]
'''


def write(
    weights: Weights,
    folder: Path,
    tokenizer: Tokenizer | None,
    dtype: torch.dtype | None = None,
    overwrite: bool = False,
    shard_bytes: int = _SHARD_BYTES,
) -> None:
    """Writes the folder, whole or not at all.

    tokenizer: one of bytes (`vocabulary`); None leaves it out. dtype: of all tensors, by default
    that of the embedding. overwrite: the folder of an earlier export is replaced.
    Raises UserError where the folder exists otherwise, and where transformers has no such model.
    """
    _check(weights, folder)
    if overwrite and folder.exists():
        _check_replaceable(folder)
    tokens = pieces(tokenizer, weights.shape.vocab_size) if tokenizer else []
    kind = dtype or weights["emb.weight"].dtype
    entries = [_entry(w, weights.shape.head_size, kind) for w in weights if w.name not in _UNUSED]
    needed = sum(entry.nbytes for entry in entries)
    with atomic_path(folder, needed, replaces_folder=overwrite) as home:
        home.mkdir()
        _write_shards(home, _shards(entries, shard_bytes))
        _write_json(home / "config.json", _config(weights, kind))
        ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
        _write_json(home / "generation_config.json", ends)
        write_bytes(home / "modeling_rwkv7.py", _MODEL_CODE.encode())
        write_bytes(home / "configuration_rwkv7.py", _CONFIG_CODE.encode())
        if tokens:
            _write_tokenizer(home, tokens)


def _check(weights: Weights, folder: Path) -> None:
    if weights.shape.version != "x070":
        raise UserError(
            f"{folder}: rwkv7-hf and flash-linear-attention's model are for RWKV-7, and this model "
            f"is {weights.shape.version}; take --to pth, st or gguf"
        )
    if weights.states:
        raise UserError(
            f"{folder}: transformers has no place for the initial state that this model begins "
            "with (time_state); --to pth and --to st have one"
        )


def _check_replaceable(folder: Path) -> None:
    """Nothing but what an export writes is thrown away."""
    if not folder.is_dir():
        raise UserError(f"{folder}: is a file, and --to hf writes a folder; name another --out")
    other = next((p.name for p in folder.iterdir() if not _FILES.fullmatch(p.name)), None)
    if other:
        raise UserError(
            f"{folder}: holds {other}, which no export writes; remove it, or name another --out"
        )


def _entry(weight: Weight, head_size: int, dtype: torch.dtype) -> Entry:
    """The tensor as transformers has it."""
    end = weight.name.partition(".att.")[2]
    swapped = end in {f"{letter}{number}" for letter in "wavg" for number in "12"}
    flat = end in ("w0", "a0", "v0", "k_k", "k_a") or weight.name.endswith("ffn.x_k")
    scale = math.sqrt(head_size / _HEAD_SIZE)
    factor = {"value.weight": scale, "r_k": 1 / scale}.get(end, 1.0)
    shape = weight.shape[::-1] if swapped else weight.shape
    shape = (math.prod(shape),) if flat else shape

    def tensor() -> Tensor:
        rounded = weight.rounded(dtype, factor)
        return (rounded.mT if swapped else rounded).reshape(shape)

    return Entry(_name(weight.name), shape, dtype, tensor)


def _name(key: str) -> str:
    if key in _PLACES:
        return _PLACES[key]
    _, block, part, *rest = key.split(".")
    place = f"model.layers.{block}"
    if part in _NORMS:
        return f"{place}.{_NORMS[part]}.{rest[0]}"
    if part == "ffn":
        return f"{place}.ffn.{'.'.join(rest)}"
    if rest[0][1:] in _LOW_RANK:
        return f"{place}.attn.{rest[0][0]}_lora.{_LOW_RANK[rest[0][1:]]}"
    return ".".join((place, "attn", _ATTENTION.get(rest[0], rest[0]), *rest[1:]))


def _shards(entries: list[Entry], limit: int) -> list[list[Entry]]:
    """In order, none larger than `limit` but for a tensor that is so alone."""
    shards: list[list[Entry]] = [[]]
    size = 0
    for entry in entries:
        if shards[-1] and size + entry.nbytes > limit:
            shards.append([])
            size = 0
        shards[-1].append(entry)
        size += entry.nbytes
    return shards


def _write_shards(home: Path, shards: list[list[Entry]]) -> None:
    if len(shards) == 1:
        write_safetensors(home / "model.safetensors", shards[0])
        return
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        write_safetensors(home / name, shard)
        places |= {entry.name: name for entry in shard}
    total = sum(entry.nbytes for shard in shards for entry in shard)
    index = {"metadata": {"total_size": total}, "weight_map": places}
    _write_json(home / "model.safetensors.index.json", index)


def _config(weights: Weights, dtype: torch.dtype) -> dict[str, Any]:
    shape = weights.shape
    return {
        "model_type": "rwkv7",
        "architectures": ["RWKV7ForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_rwkv7.RWKV7Config",
            "AutoModel": "modeling_rwkv7.RWKV7Model",
            "AutoModelForCausalLM": "modeling_rwkv7.RWKV7ForCausalLM",
        },
        "torch_dtype": str(dtype).removeprefix("torch."),
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.width,
        "num_hidden_layers": shape.num_layers,
        "num_heads": shape.num_heads,
        "head_dim": shape.head_size,
        "intermediate_size": shape.ffn_width,
        "hidden_ratio": shape.ffn_width / shape.width,
        "decay_low_rank_dim": shape.ranks["w"],
        "gate_low_rank_dim": shape.ranks["g"],
        "a_low_rank_dim": shape.ranks["a"],
        "v_low_rank_dim": shape.ranks.get("v", shape.ranks["a"]),
        "hidden_act": "sqrelu",
        "norm_first": True,
        "norm_bias": True,
        "norm_eps": 1e-5,
        "attn_mode": "chunk",
        "fuse_norm": False,
        "use_cache": True,
        "tie_word_embeddings": False,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
    }


def _write_tokenizer(home: Path, tokens: list[bytes]) -> None:
    write_bytes(home / VOCABULARY, "".join(_lines(tokens)).encode())
    code = Path(__file__).with_name("tokenization_rwkv7.py").read_bytes()
    write_bytes(home / "tokenization_rwkv7.py", code)
    config = {
        "tokenizer_class": "RWKV7Tokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_rwkv7.RWKV7Tokenizer", None]},
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 10**9,
        "chat_template": CHAT_TEMPLATE,
    }
    _write_json(home / "tokenizer_config.json", config)


def _lines(tokens: list[bytes]) -> Iterator[str]:
    """A World vocabulary: id, the token as a Python literal, its length in bytes."""
    for number, token in enumerate(tokens):
        if token:
            try:
                literal = repr(token.decode())
            except UnicodeDecodeError:
                literal = repr(token)
            yield f"{number} {literal} {len(token)}\n"


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_bytes(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
