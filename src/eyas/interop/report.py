"""What is said of a file."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Report:
    """What a file is, what is in it, and what to do with it."""

    kind: str
    facts: tuple[str, ...]
    next: str

    def lines(self) -> list[str]:
        return [self.kind, *(f"  {fact}" for fact in self.facts), f"Next: {self.next}"]


def amount(count: int) -> str:
    """Bytes in words."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count} bytes"


def contents(tensors: Mapping[str, Tensor]) -> str:
    """How many tensors, of how many numbers, in which types."""
    types = sorted({str(t.dtype).removeprefix("torch.") for t in tensors.values()})
    numbers = sum(tensor.numel() for tensor in tensors.values())
    size = amount(sum(tensor.nbytes for tensor in tensors.values()))
    return f"{len(tensors):,} tensors, {numbers:,} numbers, {' and '.join(types)}, {size}"


def some(names: Iterable[str], shown: int = 3) -> str:
    """The first few names."""
    listed = list(names)
    return ", ".join(listed[:shown]) + (", …" if len(listed) > shown else "")
