"""States after texts that were read before: a prompt that goes on from one is read from there.

A state does not grow with the text that it stands for, so that a whole conversation costs as much
as its first word. The least recently used are dropped where they come to more than a limit.
"""

from array import array
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from eyas.models import State
from eyas.serving.batch import size_of

_WIDTH = array("i").itemsize


@dataclass(frozen=True)
class Prefix:
    """What is known after some tokens."""

    length: int  # tokens read
    state: State  # batch 1
    hidden: Float[Tensor, "1 1 C"]  # after the last of them, for the head


class Prefixes:
    """Prefixes of several models by their tokens, at most `capacity` bytes of them."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.bytes = 0
        self._entries: OrderedDict[tuple[str, bytes], Prefix] = OrderedDict()
        self._lengths: dict[str, Counter[int]] = defaultdict(Counter)

    def __len__(self) -> int:
        return len(self._entries)

    def longest(self, model: str, tokens: Sequence[int]) -> Prefix | None:
        """The longest one that the tokens begin with."""
        data = _packed(tokens)
        known = (length for length in self._lengths[model] if length <= len(tokens))
        for length in sorted(known, reverse=True):
            key = model, data[: length * _WIDTH]
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
        return None

    def keep(
        self, model: str, tokens: Sequence[int], state: State, hidden: Float[Tensor, "1 1 C"]
    ) -> None:
        """Remembers the state after these tokens, where it fits. The tensors must be its own."""
        key = model, _packed(tokens)
        prefix = Prefix(len(tokens), state, hidden)
        if key in self._entries or _size(key, prefix) > self.capacity:
            return
        self._entries[key] = prefix
        self._lengths[model][prefix.length] += 1
        self.bytes += _size(key, prefix)
        while self.bytes > self.capacity:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        key, prefix = self._entries.popitem(last=False)
        self.bytes -= _size(key, prefix)
        lengths = self._lengths[key[0]]
        lengths[prefix.length] -= 1
        if not lengths[prefix.length]:
            del lengths[prefix.length]


def _packed(tokens: Sequence[int]) -> bytes:
    return array("i", tokens).tobytes()


def _size(key: tuple[str, bytes], prefix: Prefix) -> int:
    return len(key[1]) + size_of(prefix.state) + prefix.hidden.nbytes
