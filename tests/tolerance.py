"""How close two results must be, by the type they were computed in. No test has its own number."""

import torch
from torch import Tensor

EXACT = {torch.float64: (1e-10, 1e-10), torch.float32: (1e-5, 1e-6)}
RELATIVE_RMS = {"forward": 4e-3, "gradient": 8e-3}  # bf16, fp16
LOGITS = 1e-4  # largest difference over the standard deviation, against another implementation
# Of exported models near their initial values, in the programs that they are for.
RWKV_PACKAGE = 1e-5  # largest difference of a logit, float32
WEB_RWKV = 2e-2  # relative RMS: float16 throughout, on a software GPU
GGUF = {  # relative RMS; llama.cpp rounds what goes into a matrix to the matrix's type, too
    "f32": 1e-4,
    "f16": 1e-3,
    "bf16": 8e-3,
    "q8_0": 2e-2,
    "q5_1": 4e-2,
    "q5_0": 4e-2,
    "q4_1": 8e-2,
    "q4_0": 8e-2,
    "mxfp4": 1e-1,
}


def assert_close(actual: Tensor, expected: Tensor, kind: str = "forward") -> None:
    """Compares by the type of `actual`; scaled by the size of what is expected."""
    if actual.dtype in EXACT:
        rtol, atol = EXACT[actual.dtype]
        scale = max(1.0, expected.abs().max().item()) if expected.numel() else 1.0
        torch.testing.assert_close(actual, expected.to(actual), rtol=rtol, atol=atol * scale)
        return
    error = (actual.double() - expected.double()).norm() / expected.double().norm()
    assert error <= RELATIVE_RMS[kind]
