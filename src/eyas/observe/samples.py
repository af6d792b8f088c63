"""What fixed prompts are called where their samples are shown one after the other."""

from dataclasses import dataclass, field


@dataclass
class Numbers:
    """Numbers the prompts of a run as they come."""

    known: dict[str, int] = field(default_factory=dict)

    def name(self, prompt: str) -> str:
        """`sample/1` for the first prompt that was seen."""
        return f"sample/{self.known.setdefault(prompt, len(self.known) + 1)}"
