"""One choice while it is generated: what was drawn, and what its client may read of it."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from eyas.errors import UserError
from eyas.generation.sampling import count, sample
from eyas.generation.stream import END, weight_of
from eyas.serving.jobs import Ended, Piece, Ticket, TokenSaid
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

    @property
    def read(self) -> list[int]:
        """The tokens that the model has read: all but the last one drawn."""
        drawn = self.generated if self.reason == "end" else self.generated[:-1]
        return [*self.ticket.job.tokens, *drawn]

    def take(self, logits: Float[Tensor, "V"]) -> None:
        """Draws the next token and says what follows; sets `reason` where it is the last."""
        job = self.ticket.job
        if not logits.isfinite().all():
            raise UserError("the model's logits are not finite; check its weights and precision")
        token = sample(logits, job.sampling, self._occurrence, self._generator)
        if token == END:
            self._end("end")
            return
        self.generated.append(token)
        token_bytes = job.served.tokenizer.token_bytes
        data = token_bytes(token)
        if job.top_logprobs is not None:
            said = _with_logprobs(logits, token, job.top_logprobs, token_bytes)
            self._tokens.append((self._transcript.decoded, said))
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


def _with_logprobs(
    logits: Float[Tensor, "V"], token: int, top: int, token_bytes: Callable[[int], bytes]
) -> TokenSaid:
    logprobs = torch.log_softmax(logits.float(), dim=-1)
    values, tokens = logprobs.topk(min(top, len(logprobs)))
    pairs = zip(tokens.tolist(), values.tolist(), strict=True)
    likeliest = tuple((token_bytes(other), value) for other, value in pairs)
    return TokenSaid(token_bytes(token), float(logprobs[token]), likeliest)
