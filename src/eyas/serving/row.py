"""One choice while it is generated: what was drawn, and what its client may read of it."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from eyas.errors import UserError
from eyas.generation.sampling import count, sample
from eyas.generation.stream import END, weight_of
from eyas.serving.jobs import Ended, Piece, Ticket, TokenSaid
from eyas.serving.logprobs import Scored, said_of_prompt, scored
from eyas.serving.transcript import Said, Transcript


class Row:
    """A choice of a job. Draws exactly as `eyas.generation.stream.generate` does."""

    def __init__(self, ticket: Ticket, choice: int, cached: int) -> None:
        job = ticket.job
        self.ticket, self.choice, self.cached = ticket, choice, cached
        self.generated: list[int] = []
        self.reason = ""  # why it ended
        self._generator = torch.Generator().manual_seed(job.seeds[choice])
        self._occurrence: dict[int, float] = {}
        self._transcript = Transcript(job.form)
        self._tokens: list[tuple[int, TokenSaid]] = []  # not yet said, by their first character
        self._biased = torch.tensor([token for token, _ in job.bias], dtype=torch.long)
        self._bias = torch.tensor([value for _, value in job.bias])

    @property
    def read(self) -> list[int]:
        """The tokens that the model has read: all but the last one drawn."""
        drawn = self.generated if self.reason == "end" else self.generated[:-1]
        return [*self.ticket.job.tokens, *drawn]

    def begin(self, prompt: Sequence[Scored]) -> None:
        """Says the prompt where the client wants it; sets `reason` where nothing is to follow."""
        job = self.ticket.job
        if job.echo is not None:
            tokens = said_of_prompt(prompt, job.served.tokenizer.token_bytes)
            self.ticket.sink(Piece(self.choice, "", job.echo, tokens))
        if job.max_tokens == 0:
            self._end("length")

    def take(self, logits: Float[Tensor, "V"]) -> None:
        """Draws the next token and says what follows; sets `reason` where it is the last."""
        job = self.ticket.job
        if not math.isfinite(logits.sum()):  # ten times as fast as looking at each
            raise UserError("the model's logits are not finite; check its weights and precision")
        biased = logits.index_add(0, self._biased, self._bias) if job.bias else logits
        token = sample(biased, job.sampling, self._occurrence, self._generator)
        if token == END:
            self._end("end")
            return
        self.generated.append(token)
        token_bytes = job.served.tokenizer.token_bytes
        data = token_bytes(token)
        if job.top_logprobs is not None:
            start = self._transcript.decoded
            score = scored(logits, token, job.top_logprobs)
            self._tokens.append((start, score.said(len(job.echo or "") + start, token_bytes)))
        self._say(self._transcript.feed(data))
        if self._transcript.ended:
            self._end("stop")
        elif len(self.generated) == job.max_tokens:
            self._end("length")
        else:
            weight = weight_of(data)
            self._occurrence = count(self._occurrence, token, weight, job.sampling.penalty_decay)

    def _end(self, reason: str) -> None:
        self.reason = reason
        if reason != "stop":
            self._say(self._transcript.finish(), last=True)
        told = "length" if reason == "length" else "stop"
        self.ticket.sink(Ended(self.choice, told, len(self.generated), self.cached))

    def _say(self, said: Said, last: bool = False) -> None:
        settled = self._transcript.settled
        ready = [token for start, token in self._tokens if last or start < settled]
        del self._tokens[: len(ready)]
        if said.reasoning or said.content or ready:
            self.ticket.sink(Piece(self.choice, said.reasoning, said.content, tuple(ready)))
