"""Exported models in the programs that they are for: their logits are ours.

With `pytest -rP` it prints the largest difference of a logit, as docs/clients.md has it.
"""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from peer import rwkv_logits
from programs import answers_of
from safetensors.torch import save_file
from tolerance import GGUF, LOGITS, RWKV_PACKAGE, WEB_RWKV
from torch import Tensor
from weights import random_weights

import eyas
from eyas.data import tokenizer_for
from eyas.data.template import Message, render
from eyas.exporting import gguf, hf, st, state
from eyas.exporting.pth import write_pth
from eyas.exporting.weights import read_weights, stored
from eyas.models import Shape, create

SHAPES = {
    "x052": Shape("x052", 4, 128, 2, 448, 256),
    "x060": Shape("x060", 8, 128, 2, 448, 256, {"mix": 8, "decay": 16}),
    "x070": Shape("x070", 4, 128, 2, 512, 256, {"w": 8, "a": 12, "v": 4, "g": 16}),
    "small heads": Shape("x070", 2, 64, 4, 256, 65536, {"w": 8, "a": 12, "v": 4, "g": 16}),
    "one layer": Shape("x070", 1, 128, 2, 512, 256, {"w": 8, "a": 12, "g": 16, "unused v": 8}),
    "world 5": Shape("x052", 2, 64, 1, 224, 65536),
    "world 6": Shape("x060", 2, 64, 1, 224, 65536, {"mix": 8, "decay": 16}),
    "world": Shape("x070", 2, 64, 1, 256, 65536, {"w": 8, "a": 12, "v": 4, "g": 16}),
}
TEXT = "User: 你好 héllo\n\nAssistant: 123\r\n日本 <|x|>\t\\x41 'a' \"b\" 🦅"
CALM = 0.4  # of models in programs that round more than float32 does: no chaos
TOKENS = [int(token) for token in torch.arange(77) * 37 % 255 + 1]

needs_llama = pytest.mark.skipif(not find_spec("llama_cpp"), reason="needs llama-cpp-python")
needs_transformers = pytest.mark.skipif(not find_spec("rwkv7_hf"), reason="needs rwkv7-hf")
needs_rwkv_cpp = pytest.mark.skipif(
    "RWKV_CPP" not in os.environ, reason="needs rwkv.cpp, built, with RWKV_CPP as its folder"
)
needs_runner = pytest.mark.skipif(
    "RWKV_RUNNER" not in os.environ,
    reason="needs RWKV Runner's source, with RWKV_RUNNER as its folder backend-python",
)
needs_web_rwkv = pytest.mark.skipif(not find_spec("web_rwkv_py"), reason="needs web-rwkv-py")


def written(folder: Path, name: str, calm: float = 1.0) -> Path:
    """A model's file. calm: the share of their distance from the initial values that they keep."""
    path, shape = folder / f"{name.replace(' ', '-')}.pth", SHAPES[name]
    start, weights = create(shape, 0).state_dict(), random_weights(shape)
    if calm != 1:
        weights = {k: start[k] + calm * (w - start[k]) for k, w in weights.items()}
    torch.save(weights, path)
    return path


def random_states(shape: Shape) -> dict[str, Tensor]:
    size, chance = (shape.num_heads, *[shape.head_size] * 2), torch.Generator().manual_seed(5)
    names = (f"blocks.{i}.att.time_state" for i in range(shape.num_layers))
    return {name: torch.randn(size, generator=chance) for name in names}


@torch.no_grad()
def ours(path: Path) -> Tensor:
    logits, _ = eyas.load(path)(torch.tensor([TOKENS]))
    return logits[0]


def largest(what: str, found: Tensor, expected: Tensor) -> float:
    """The largest difference of a logit, printed."""
    difference = (found - expected).abs().max().item()
    print(f"{what}: {difference:.1e}")
    return difference


def relative(what: str, found: Tensor, expected: Tensor) -> float:
    """The RMS of the differences over that of the logits; the largest is printed."""
    largest(what, found, expected)
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("version", ["x052", "x060", "x070"])
def test_pth_in_the_rwkv_package(version: str, tmp_path: Path) -> None:
    # Of narrow RWKV-5 and RWKV-6 files the package rounds more than the file does.
    kinds = [torch.float32, torch.bfloat16, torch.float16][: 3 if version == "x070" else 1]
    base, paths = written(tmp_path, version, CALM), [tmp_path / f"{kind}.pth" for kind in kinds]
    for path, kind in zip(paths, kinds, strict=True):
        write_pth(path, read_weights(base).entries(kind))
    results = rwkv_logits(paths, TOKENS, version, tmp_path)
    for path, (found, _) in zip(paths, results, strict=True):
        assert largest(path.stem, found, ours(path)) <= RWKV_PACKAGE


@needs_rwkv_cpp
def test_pth_in_rwkv_cpp(tmp_path: Path) -> None:
    # Of RWKV-5 it takes the norm's epsilon without the division by 8 that goes with it.
    bases = [written(tmp_path, name, CALM) for name in ("x060", "x070")]
    save_file(torch.load(bases[-1]), tmp_path / "sorted.safetensors")
    sources = [*bases, tmp_path / "sorted.safetensors"]
    paths = [tmp_path / f"{source.stem}-out.pth" for source in sources]
    for source, path in zip(sources, paths, strict=True):
        write_pth(path, read_weights(source).entries())
    answers = answers_of("cpp_answers.py", [(str(path), TOKENS) for path in paths], tmp_path)
    for source, answer in zip(sources, answers, strict=True):
        expected = ours(source)
        assert largest(source.stem, answer, expected) <= LOGITS * expected.std()


@needs_runner
def test_pth_and_state_in_rwkv_runner(tmp_path: Path) -> None:
    jobs, expected = [], []
    for name in ("world 5", "world 6", "world"):  # it reads a text of its own first
        base = written(tmp_path, name, CALM)
        states = random_states(SHAPES[name])
        state.write([stored(*one) for one in states.items()], tmp_path / f"{name}-state.pth")
        write_pth(tmp_path / f"{name}-out.pth", read_weights(base).entries())
        torch.save({**torch.load(base), **states}, tmp_path / f"{name}-tuned.pth")
        for file, of in (("", base), (f"{name}-state.pth", tmp_path / f"{name}-tuned.pth")):
            path = str(tmp_path / file) if file else ""
            jobs.append((str(tmp_path / f"{name}-out.pth"), path, TOKENS))
            expected.append(ours(of))
    answers = answers_of("runner_answers.py", jobs, tmp_path)
    for (path, state_path, _), answer, logits in zip(jobs, answers, expected, strict=True):
        off = largest(Path(state_path or path).stem, answer, logits)
        assert off <= LOGITS * logits.std()


@needs_llama
@pytest.mark.parametrize(
    ("name", "kinds"),
    {
        "x060": gguf.QUANTIZATIONS,
        "x070": gguf.QUANTIZATIONS,
        "one layer": ("f32",),
        "world": ("f16",),
    }.items(),
)
def test_gguf_in_llama_cpp(name: str, kinds: tuple[str, ...], tmp_path: Path) -> None:
    base = written(tmp_path, name, CALM)
    tokenizer = tokenizer_for(SHAPES[name].vocab_size, None, None)
    paths = {kind: tmp_path / f"{kind}.gguf" for kind in kinds}
    for kind, path in paths.items():
        gguf.write(read_weights(base), path, tokenizer, kind)
    jobs = [(str(path), TOKENS, TEXT) for path in paths.values()]
    expected = ours(base)
    for kind, (logits, ids, back, end) in zip(
        paths, answers_of("llama_answers.py", jobs, tmp_path), strict=True
    ):
        assert relative(kind, logits, expected) <= GGUF[kind]
        assert ids == tokenizer.encode(TEXT)
        assert back == TEXT
        assert end == 0


def by_transformers(
    folder: Path, messages: list[dict[str, str]]
) -> tuple[Tensor, list[int], str, str, str]:
    """Logits, the text's tokens, these back as text, the messages as a prompt, whose code it is."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(
        folder, trust_remote_code=True, dtype=torch.float32
    )
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    with torch.no_grad():
        logits = model(torch.tensor([TOKENS])).logits[0]
    ids = tokenizer(TEXT).input_ids
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return logits, ids, tokenizer.decode(ids), prompt, type(model).__module__


@needs_transformers
@pytest.mark.filterwarnings("ignore")
def test_hf_in_transformers(tmp_path: Path) -> None:
    talk = [
        Message("system", "be\n\nbrief"),
        Message("user", "a\r\n\r\nb "),
        Message("assistant", "c"),
        Message("user", "d"),
    ]
    messages = [{"role": message.role, "content": message.content} for message in talk]
    names = ["small heads", "one layer"]
    folders = [tmp_path / f"{name}-hf" for name in names]
    bases = [written(tmp_path, name, CALM) for name in names]
    tokenizers = [tokenizer_for(SHAPES[name].vocab_size, None, None) for name in names]
    for base, folder, tokenizer in zip(bases, folders, tokenizers, strict=True):
        hf.write(read_weights(base), folder, tokenizer, shard_bytes=10_000_000)
    for base, folder, tokenizer in zip(bases, folders, tokenizers, strict=True):
        logits, ids, back, prompt, module = by_transformers(folder, messages)
        expected = ours(base)
        assert largest(base.stem, logits, expected) <= LOGITS * expected.std()
        assert ids == tokenizer.encode(TEXT)
        assert back == TEXT
        assert prompt == "".join(span.text for span in render(talk)) + "\n\nAssistant:"
        assert module == "rwkv7_hf.modeling_rwkv7"


@needs_web_rwkv
def test_st_in_web_rwkv(tmp_path: Path) -> None:
    lengths = [1, 2, 3, 5, 8, 20, 50, 77]
    names = ["x052", "x060", "x070"]
    bases = [written(tmp_path, name, CALM) for name in names]
    for base in bases:
        st.write(read_weights(base), base.with_suffix(".st"))
    jobs = [(str(base.with_suffix(".st")), TOKENS, lengths) for base in bases]
    answers = answers_of("web_answers.py", jobs, tmp_path)
    if any("adapter" in one or "device" in one for one in answers if isinstance(one, str)):
        pytest.skip("needs a Vulkan driver, as Debian's mesa-vulkan-drivers")
    for base, answer in zip(bases[:2], answers, strict=False):
        expected = ours(base)[[length - 1 for length in lengths]]
        assert relative(base.stem, answer, expected) <= WEB_RWKV
    assert "time_first" in answers[2]  # this version of it knows no RWKV-7
