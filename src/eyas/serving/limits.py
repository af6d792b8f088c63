"""How much the server does at once, and how much one request may be and ask for."""

from dataclasses import dataclass
from typing import Annotated

from eyas.config import check_at_least_1


@dataclass(frozen=True)
class LimitsConfig:
    """Limits of a request; what is above them is refused with the limit's name."""

    max_tokens: Annotated[int, "tokens of an answer"] = 4096
    max_prompt_tokens: Annotated[int, "tokens of a prompt"] = 32768
    max_body_kib: Annotated[int, "size of a request"] = 1024
    body_seconds: Annotated[
        float, "seconds for a request's head, its body, and a stalled reader"
    ] = 30.0

    def __post_init__(self) -> None:
        check_at_least_1(self, "max_tokens", "max_prompt_tokens", "max_body_kib")
        if not 0 < self.body_seconds <= 86_400:
            raise ValueError(f"body_seconds = {self.body_seconds} must be above 0, at most a day")


@dataclass(frozen=True)
class CapacityConfig:
    """How much is done at once, and how much may wait."""

    max_rows: Annotated[int, "sequences generated at once"] = 32
    max_queue: Annotated[int, "requests that wait for a place; more are refused"] = 64
    slice_tokens: Annotated[int, "tokens of prompts read between two tokens of the others"] = 128
    prefix_mib: Annotated[int, "memory of the states kept for prompts that go on; 0: none"] = 512

    def __post_init__(self) -> None:
        check_at_least_1(self, "max_rows", "max_queue", "slice_tokens")
        if self.prefix_mib < 0:
            raise ValueError(f"prefix_mib = {self.prefix_mib} must be 0 or more")
