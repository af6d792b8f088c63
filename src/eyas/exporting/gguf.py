"""GGUF files, for llama.cpp and what is built on it: RWKV-6 and RWKV-7.

What is one-dimensional or small stays as wide as llama.cpp wants it; the embedding and the head
keep eight bits where the rest has fewer. Which tensors there are: `gguf_tensors`.
Source: llama.cpp, conversion/base.py and rwkv.py, src/llama-quant.cpp.
"""

import re
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eyas.data import Tokenizer
from eyas.errors import UserError
from eyas.exporting.chat_template import CHAT_TEMPLATE
from eyas.exporting.gguf_tensors import LOW_RANK, RESCALED_EVERY, Part, parts
from eyas.exporting.vocabulary import is_of_bytes, pieces
from eyas.exporting.weights import Weights
from eyas.files import atomic_path

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType, GGUFWriter

QUANTIZATIONS = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "mxfp4")
"""What the `gguf` package can make itself; llama.cpp's llama-quantize makes others of f16.

Its tq1_0 and tq2_0 are left out: they are for weights of -1, 0 and 1.
"""

_ARCHITECTURES = {"x060": "rwkv6", "x070": "rwkv7"}
_CONTEXT = 1 << 20  # of a model that has no limit
_EPSILON = 1e-5
_ALIGNMENT = 32
_HEADER_BYTES = 1 << 23  # of names and a vocabulary of 65536 tokens, at most
_ALWAYS_FLOAT32 = re.compile(r"time_mix_(w[12]|decay_w[12]|first|lerp_fused)\.weight$|_norm\.")
_EDGES = ("token_embd.weight", "output.weight")


def write(weights: Weights, path: Path, tokenizer: Tokenizer, quantization: str = "f16") -> None:
    """quantization: one of QUANTIZATIONS, of the large matrices.

    Raises UserError where llama.cpp has no such model or tokenizer, where `quantization` is
    unknown, and where the `gguf` package is missing.
    """
    _check(weights, path, tokenizer, quantization)
    from gguf import GGUFWriter

    tokens = pieces(tokenizer, weights.shape.vocab_size)
    planned = list(parts(weights))
    kinds = [_kind(part, quantization) for part in planned]
    sizes = [_size(part, kind) for part, kind in zip(planned, kinds, strict=True)]
    with atomic_path(path, _HEADER_BYTES + sum(map(_padded, sizes))) as temporary:
        writer = GGUFWriter(temporary, _ARCHITECTURES[weights.shape.version])
        _describe(writer, weights, path.stem, quantization)
        _add_vocabulary(writer, tokens)
        for part, kind, size in zip(planned, kinds, sizes, strict=True):
            # The shape is that of the elements where the dtype given is not one of bytes.
            writer.add_tensor_info(part.name, part.shape, np.dtype(np.float32), size, kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        writer.close()
        # Not by the writer: what numpy's `tofile` raises on a full disk does not say so.
        with open(temporary, "ab") as file:
            file.write(bytes(-file.tell() % _ALIGNMENT))
            for part, kind, size in zip(planned, kinds, sizes, strict=True):
                file.write(_content(part, kind))
                file.write(bytes(_padded(size) - size))


def _check(weights: Weights, path: Path, tokenizer: Tokenizer, quantization: str) -> None:
    if quantization not in QUANTIZATIONS:
        raise UserError(
            f"--dtype {quantization}: is none of {', '.join(QUANTIZATIONS)}; others, as q4_k_m, "
            "are made of the f16 file by llama.cpp's llama-quantize"
        )
    if weights.shape.version not in _ARCHITECTURES:
        raise UserError(
            f"{path}: llama.cpp runs RWKV-6 and RWKV-7, and this model is {weights.shape.version}; "
            "take --to pth or --to st"
        )
    if weights.states:
        raise UserError(
            f"{path}: GGUF has no place for the initial state that this model begins with "
            "(time_state); --to pth and --to st have one"
        )
    if not is_of_bytes(tokenizer):
        raise UserError(
            f"{path}: llama.cpp tokenizes for RWKV by a World vocabulary alone, and this model's "
            f"tokenizer is {tokenizer.name!r}; take --to pth, or give the World vocabulary (.txt) "
            "that it was trained with as --tokenizer"
        )
    if find_spec("gguf") is None:
        raise UserError("--to gguf needs the package gguf: pip install 'eyas[gguf]'")


def _describe(writer: "GGUFWriter", weights: Weights, name: str, quantization: str) -> None:
    """The metadata that llama.cpp reads."""
    from gguf import LlamaFileType

    shape = weights.shape
    writer.add_name(name)
    writer.add_context_length(_CONTEXT)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.num_layers)
    writer.add_feed_forward_length(shape.ffn_width)
    writer.add_layer_norm_eps(_EPSILON)
    writer.add_wkv_head_size(shape.head_size)
    writer.add_head_count(0)  # asked for, not used
    if shape.version == "x060":
        writer.add_rescale_every_n_layers(RESCALED_EVERY)
        writer.add_time_mix_extra_dim(shape.ranks["mix"])
        writer.add_time_decay_extra_dim(shape.ranks["decay"])
    else:
        writer.add_decay_lora_rank(shape.ranks["w"])
        writer.add_iclr_lora_rank(shape.ranks["a"])
        # A model of one layer has no v1 that is of use, and llama.cpp asks for the size.
        writer.add_value_residual_mix_lora_rank(shape.ranks.get("v", shape.ranks["a"]))
        writer.add_gate_lora_rank(shape.ranks["g"])
    known = {"f32": "ALL_F32", "mxfp4": "MOSTLY_MXFP4_MOE"}
    name = known.get(quantization, f"MOSTLY_{quantization.upper()}")
    writer.add_file_type(LlamaFileType[name])
    writer.add_quantization_version(2)


def _add_vocabulary(writer: "GGUFWriter", tokens: list[bytes]) -> None:
    """Tokens as Python writes bytes, which llama.cpp reads back; unused rows are padding."""
    from gguf import TokenType

    texts = [repr(token)[2:-1] if token else f"[PAD{i}]" for i, token in enumerate(tokens)]
    kinds = [TokenType.NORMAL if token else TokenType.UNUSED for token in tokens]
    texts[0], kinds[0] = "<s>", TokenType.CONTROL
    writer.add_tokenizer_model("rwkv")
    writer.add_token_list(texts)
    writer.add_token_types(kinds)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    if b"\n\n" in tokens:  # what ends a turn
        writer.add_eot_token_id(tokens.index(b"\n\n"))
    writer.add_chat_template(CHAT_TEMPLATE)


def _kind(part: Part, quantization: str) -> "GGMLQuantizationType":
    """In what a tensor is stored where the large matrices are in `quantization`."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    wanted = GGMLQuantizationType[quantization.upper()]
    block, _ = GGML_QUANT_SIZES[wanted]
    if len(part.shape) == 1 or _ALWAYS_FLOAT32.search(part.name):
        return GGMLQuantizationType.F32
    if block == 1:
        return wanted
    if LOW_RANK.search(part.name) or part.shape[-1] % block:
        return GGMLQuantizationType.F16
    return GGMLQuantizationType.Q8_0 if part.name in _EDGES else wanted


def _size(part: Part, kind: "GGMLQuantizationType") -> int:
    from gguf import GGML_QUANT_SIZES

    block, size = GGML_QUANT_SIZES[kind]
    return prod(part.shape) // block * size


def _content(part: Part, kind: "GGMLQuantizationType") -> memoryview:
    from gguf import GGMLQuantizationType, quantize

    values, most = part.make().numpy(), np.finfo(np.float16).max
    if kind == GGMLQuantizationType.F16 and max(values.max(), -values.min()) > most:
        raise UserError(
            f"{part.name} has values that float16 cannot hold; take --dtype bf16 or f32"
        )
    return quantize(values, kind).data


def _padded(size: int) -> int:
    return size + -size % _ALIGNMENT
