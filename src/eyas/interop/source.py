"""What is exported: a model file, or an adapter and the model that it was trained over."""

from dataclasses import dataclass
from pathlib import Path

from eyas.adapters import Adapter
from eyas.errors import UserError
from eyas.exporting.weights import Weights, read_weights
from eyas.hub import local_model
from eyas.interop.base import Base, read_base
from eyas.interop.convert import is_own
from eyas.interop.kinds import kind_of
from eyas.interop.peft import CONFIG
from eyas.merging import merged_weights
from eyas.models import read_tensors
from eyas.run import adapter_at, base_at, run_at


@dataclass(frozen=True)
class Source:
    """A model, or an adapter with the place of its base."""

    path: Path
    base: Path
    """Of an adapter it may be missing, or not be downloaded yet."""
    folder: Path
    """Where what is written goes by default."""
    adapter: Adapter | None
    tokenizer: str | None

    def weights(self) -> Weights:
        """Merged where there is an adapter."""
        base = self.base_here()
        return merged_weights(base, self.adapter) if self.adapter else read_weights(base)

    def base_here(self) -> Path:
        """The base's file. Raises UserError where it is not there."""
        return base_at(self.base, self.path)

    def read_base(self) -> Base:
        """The base that the adapter was trained over. Raises UserError where it is another one."""
        assert self.adapter
        base = read_base(self.base_here())
        if base.fingerprint != self.adapter.base:
            raise UserError(
                f"{self.base}: not the model that {self.path} was trained over "
                f"({self.adapter.shape}); give that one with --base"
            )
        return base


def open_source(given: Path, base: Path | None) -> Source:
    """Raises UserError where this is neither a model nor a run, or its base is not known."""
    path = local_model(given)
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give a model, or a run's --out")
    if _is_foreign(path):
        raise UserError(
            f"{path}: is an adapter of another program; eyas convert {path} a.safetensors --base "
            "MODEL makes one that is exported with --base MODEL"
        )
    if not path.is_dir() and not is_own(path):
        if base:
            raise UserError(f"{path}: is a model itself; --base goes with a run")
        folder = path.parent if path == given else Path()  # not among the downloaded models
        return Source(path, path, folder, None, None)
    adapter = adapter_at(path)
    run = run_at(path) if path.is_dir() else None
    base = base or (run.model if run else None)
    if base is None:
        raise UserError(f"{path}: does not know where its base is; add --base")
    folder = path if path.is_dir() else path.parent
    return Source(path, base, folder, adapter, run.tokenizer if run else None)


def _is_foreign(path: Path) -> bool:
    """Whether this is an adapter as RWKV-PEFT or HF peft writes it."""
    if path.is_dir():
        return (path / CONFIG).exists()
    return not is_own(path) and kind_of(read_tensors(path)) in ("lora", "bone", "bat", "peft")
