"""A plugin of pytest under which fla's kernels run on the CPU, in Triton's interpreter.

For a process of its own with TRITON_INTERPRET=1. What the interpreter cannot do is put right here:
the autotuner times kernels on a GPU (the first configuration is taken), `tl.gather` works in
compiled code alone, and a loop's counter would be Python's int, which has no `.to`. Left as it is:
float32 is multiplied as float32, and bfloat16 not at all.
"""

import builtins
import sys
import warnings
from collections.abc import Iterator

import pytest
import triton
import triton.language as tl
from triton.runtime import interpreter
from triton.runtime.autotuner import Autotuner

del tl.gather  # before fla asks whether it is there

_tuned = Autotuner.run


def _first(self: Autotuner, *args: object, **settings: object) -> object:
    self.configs = self.configs[:1]
    return _tuned(self, *args, **settings)


def _counters(*bounds: object) -> Iterator[object]:
    numbers = (int(b.handle.data.item()) if isinstance(b, tl.tensor) else b for b in bounds)
    yield from map(interpreter.interpreter_semantic.to_tensor, builtins.range(*numbers))


def pytest_configure() -> None:
    assert triton.knobs.runtime.interpret, "TRITON_INTERPRET=1 is missing"
    Autotuner.run = _first
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no GPU
        import fla.ops.rwkv6
        import fla.ops.rwkv7  # noqa: F401

    for name, module in list(sys.modules.items()):
        if name.startswith(("fla.ops.", "fla.modules.")):
            module.range = _counters


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    from eyas.wkv import fla

    monkeypatch.setattr(fla, "_device_suits", lambda _: True)
