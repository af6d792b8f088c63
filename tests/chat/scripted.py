"""A model that says what the test wants and whose state is all that it has read."""

import torch
from torch import Tensor, nn

from eyas.chat.answering import Speaker
from eyas.data import tokenizer_for
from eyas.data.template import G1
from eyas.models import LayerState, Model, State

WORLD = tokenizer_for(65536, None, None)


class Script(Model):
    """Says the given texts one after another; every forward is one token of them.

    The state holds the tokens that were read, so that a test sees what a state stands for.
    """

    def __init__(self, *texts: str | bytes) -> None:
        nn.Module.__init__(self)
        self.vocab_size = 65536
        self.emb = nn.Embedding(1, 1)
        self.head = nn.Identity()
        self.script = [token for text in texts for token in self.tokens(text)]
        self.forwards: list[int] = []  # tokens of each
        self.reads: list[list[int]] = []  # and all that was read with them

    @staticmethod
    def tokens(text: str | bytes) -> list[int]:
        return [0] if text == "" else WORLD.encode(text) if isinstance(text, str) else list(text)

    def hidden(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        self.forwards.append(tokens.shape[1])
        before = state[0].attention_input if state else torch.zeros(1, 0)
        read = torch.cat([before, tokens.float()], dim=1)
        self.reads.append([int(token) for token in read[0]])
        logits = torch.zeros(1, tokens.shape[1], self.vocab_size)
        logits[..., self.script.pop(0)] = 100.0
        after = LayerState(read, torch.zeros(1, 1, 1, 1), torch.zeros_like(read))
        return logits, (after,)


def read_by(state: State) -> list[int]:
    return [int(token) for token in state[0].attention_input[0]]


def speaker(*texts: str | bytes) -> Speaker:
    return Speaker(Script(*texts), WORLD, G1())
