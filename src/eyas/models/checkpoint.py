"""Reading a checkpoint: safely, memory-mapped, whatever it is wrapped in; and saying what it is."""

import pickle
import re
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from eyas.errors import UserError
from eyas.hub import local_model
from eyas.models import products, rwkv5, rwkv6, rwkv7
from eyas.models.model import Model, Shape, Sizes
from eyas.wkv import Backend, fastest


@runtime_checkable
class Version(Protocol):
    """What the file of a model version offers."""

    NAME: str

    def matches(self, sizes: Sizes) -> bool: ...

    def shape_of(self, sizes: Sizes) -> Shape: ...

    def build(self, shape: Shape, backend: Backend) -> Model: ...

    def initialize(self, model: Model, generator: torch.Generator) -> None: ...


VERSIONS: tuple[Version, ...] = (rwkv5, rwkv6, rwkv7)

_ZIP = b"PK\x03\x04"
_WRAPPERS = ("state_dict", "model", "module", "model_state_dict")
_ADAPTED = re.compile(r"(^|\.)(lora_A|lora_B|bone|disha)(\.|$)")
# Arbitrary bytes are instructions to the unpickler, which stumbles over them in many ways.
_NOT_A_PICKLE = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    OverflowError,
    AssertionError,
    struct.error,
)
_BLOCK = re.compile(r"blocks\.(\d+)\.")
_STORED = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_PREFIX = re.compile(r"^(_forward_module\.|_orig_mod\.|module\.|model\.)+")


def load(
    path: str | Path, backend: Backend | None = None, dtype: torch.dtype = torch.float32
) -> Model:
    """The model in a `.pth` or `.safetensors` file, its version and shape read from the weights.

    path: of a file, or the name of a released model, which is downloaded the first time.

    Weights stay as they are stored and mapped into memory; `dtype` is that of the activations.
    backend: of the operators, by default the fastest. The first call chooses for the process by
    which library float32 matrices are multiplied on a CPU (`products.choose_library`).

    Raises:
        UserError: not a checkpoint, a version that is not supported, or tensors that are
            missing, unexpected or of the wrong shape; all of them named.
    """
    products.choose_library()
    tensors = read_tensors(path)
    model = empty_model(shape_of(tensors, path), backend)
    if any(name.endswith(".att.time_state") for name in tensors):
        with torch.device("meta"):
            model.hold_initial_state()
    check_tensors(model, tensors, path)
    model.load_state_dict(tensors, strict=True, assign=True)
    model.dtype = dtype
    model.requires_grad_(False)
    model.eval()
    return model


def empty_model(shape: Shape, backend: Backend | None = None) -> Model:
    """A model of that shape whose weights have no storage yet."""
    version = next(v for v in VERSIONS if shape.version == v.NAME)
    with torch.device("meta"):
        return version.build(shape, backend or fastest())


def create(shape: Shape, seed: int, backend: Backend | None = None) -> Model:
    """A model of that shape with the initial values for training from nothing."""
    model = empty_model(shape, backend).to_empty(device="cpu")
    version = next(v for v in VERSIONS if shape.version == v.NAME)
    version.initialize(model, torch.Generator().manual_seed(seed))
    return model


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by their official keys, memory-mapped where the file allows.

    path: of a file, or the name of a released model (`eyas.hub`).
    """
    path = local_model(path)
    head = _head(path)
    safetensors = path.suffix.lower() == ".safetensors"
    content = _read_safetensors(path, head) if safetensors else _read_pickle(path, head)
    return _unwrap(content, path)


def _head(path: Path) -> bytes:
    """The file's first bytes. Raises UserError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(512)
    except IsADirectoryError as error:
        raise UserError(
            f"{path} is a folder, not a model: name the .pth or .safetensors in it"
        ) from error
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: no such file; give the path of a base model (.pth, .safetensors)"
        ) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error


def _read_safetensors(path: Path, head: bytes) -> Mapping[str, object]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path}: {_damage(path, head, '.safetensors')} ({error})") from error


def _read_pickle(path: Path, head: bytes) -> object:
    zipped = head.startswith(_ZIP)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that turn out to be no checkpoint
            return torch.load(path, map_location="cpu", mmap=zipped, weights_only=True)
    except _NOT_A_PICKLE as error:
        if "unsupported global" in str(error).lower():
            raise UserError(
                f"{path}: this is not a PyTorch checkpoint of weights alone: it asks for Python "
                "code, which was not run; take a file that holds only tensors"
            ) from error
        raise UserError(f"{path}: {_damage(path, head, '.pth')}") from error


def _damage(path: Path, head: bytes, kind: str) -> str:
    """What a file with these first bytes, which makes no sense, seems to be."""
    if not head:
        return "the file is empty; download it again"
    if head.lstrip()[:1] == b"<":
        return "this is an HTML page, not a checkpoint; download the file itself, not its page"
    if head.startswith(b"version https://git-lfs"):
        return "this is a Git LFS pointer, not a checkpoint; fetch the file itself (git lfs pull)"
    if head.startswith(_ZIP) or kind == ".safetensors":
        size = path.stat().st_size
        return f"the {kind} file is damaged or cut short ({size:,} bytes); download it again"
    return f"this is not a PyTorch checkpoint; give a {kind} file with a model's weights"


def _unwrap(content: object, path: Path) -> dict[str, Tensor]:
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: holds a {type(content).__name__}, not a model's weights by name")
    return {_PREFIX.sub("", str(k)): v for k, v in content.items() if isinstance(v, Tensor)}


def shape_of(tensors: Mapping[str, Tensor], path: str | Path) -> Shape:
    """Version and dimensions of the model whose tensors these are."""
    sizes: Sizes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if any(map(_ADAPTED.search, sizes)):
        raise UserError(f"{path}: this is an adapter, not a model; give the .pth of its base model")
    if foreign := _foreign(sizes):
        raise UserError(f"{path}: {foreign}; eyas trains RWKV-5.2, RWKV-6 and RWKV-7 models")
    version = next((v for v in VERSIONS if v.matches(sizes)), None)
    if version is None:
        raise UserError(f"{path}: {_what_is_it(sizes)}; give the .pth of an RWKV base model")
    try:
        _check_numbers(sizes, path)
        return version.shape_of(sizes)
    except (KeyError, IndexError, ValueError) as error:
        raise UserError(
            f"{path}: this is an {version.NAME} model without a usable {error}; "
            "the file is incomplete, download it again"
        ) from error


def _foreign(sizes: Sizes) -> str | None:
    """The RWKV version of a model that is recognized but not supported."""

    def has(part: str) -> bool:
        return any(part in name for name in sizes)

    if has("rosa"):
        return "this is an RWKV-8 (ROSA) model, which is not supported yet"
    if has("att.r_k") and has("ffn.s_emb"):
        return "this is an RWKV-7a model (DeepEmbed), which is not supported yet"
    if has("qkv."):
        return "this is an RWKV-7b model, which is not supported yet"
    if has("att.time_mix_k") and not rwkv5.matches(sizes):
        if has("att.time_first") and not has("att.ln_x"):
            return "this is an RWKV-4 model, which is not supported"
        if has("att.ln_x"):
            minor = "5.1" if has("att.gate") else "5.0"
            return f"this is an RWKV-{minor} model, which is not supported"
    return None


def _check_numbers(sizes: Sizes, path: str | Path) -> None:
    """Raises UserError where the blocks are not numbered from 0 up without a gap."""
    numbers = {int(match[1]) for match in map(_BLOCK.match, sizes) if match}
    missing = next(number for number in range(len(numbers) + 1) if number not in numbers)
    if missing < len(numbers):
        raise UserError(
            f"{path}: has block {max(numbers)} and no block {missing}; "
            "the file is incomplete, download it again"
        )


def _what_is_it(sizes: Sizes) -> str:
    if sizes and all(name.endswith("time_state") for name in sizes):
        return "this is a state file, not a model"
    some = ", ".join(list(sizes)[:3]) or "no tensors"
    return f"no RWKV model (it holds {some}{', …' if len(sizes) > 3 else ''})"


def check_tensors(model: Model, tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """Raises a UserError that names every tensor that does not fit the model."""
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    missing = [name for name in expected if name not in tensors]
    unexpected = [name for name in tensors if name not in expected]
    misshapen = [
        f"{name} is {list(tensors[name].shape)} and not {list(shape)}"
        for name, shape in expected.items()
        if name in tensors and tuple(tensors[name].shape) != shape
    ]
    mistyped = [
        f"{name} is {str(tensors[name].dtype).removeprefix('torch.')}"
        for name in expected
        if name in tensors and tensors[name].dtype not in _STORED
    ]
    kinds = {
        "missing": missing,
        "unexpected": unexpected,
        "wrong shape": misshapen,
        "not float16, bfloat16, float32 or float64": mistyped,
    }
    if any(kinds.values()):
        what = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds.items() if names)
        raise UserError(f"{path}: does not fit {model.shape}: {what}")
