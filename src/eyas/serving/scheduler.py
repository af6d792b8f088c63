"""Continuous batching: at every token, one forward for all rows over a base.

The state of a row is a value of fixed size, so that rows join and leave between any two tokens.
A step reads at most `slice_tokens` of prompts, taken in turns: a long prompt delays the others by
one slice a token, and never by its length. Then every row, those whose prompt has just been read
among them, draws its next token, and the rows that go on read it together.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from eyas.errors import UserError
from eyas.models import State
from eyas.serving.batch import joined, rows_of
from eyas.serving.forward import Forward
from eyas.serving.jobs import Failed, Ticket
from eyas.serving.logprobs import Scored, scored
from eyas.serving.metrics import Metrics
from eyas.serving.prefixes import Prefixes
from eyas.serving.row import Row


@dataclass
class _Prompt:
    """A prompt that is being read."""

    ticket: Ticket
    done: int  # tokens read
    cached: int  # of them known before
    state: State
    hidden: Float[Tensor, "1 1 C"] | None  # after the last token read
    scores: list[Scored]  # of its tokens, where they are asked for

    def is_read(self) -> bool:
        return self.done == len(self.ticket.job.tokens)


@dataclass
class _Group:
    """The rows of one forward; their states, and what the head is to read, in their order."""

    forward: Forward
    rows: list[Row] = field(default_factory=list)
    state: State = ()
    hidden: Float[Tensor, "B 1 C"] = field(default_factory=lambda: torch.empty(0))

    def join(self, rows: list[Row], state: State, hidden: Float[Tensor, "B 1 C"]) -> None:
        self.state = joined([self.state, state]) if self.rows else state
        self.hidden = torch.cat((self.hidden, hidden)) if self.rows else hidden
        self.rows = self.rows + rows

    def keep(self, wanted: Callable[[Row], bool]) -> None:
        kept = [i for i, row in enumerate(self.rows) if wanted(row)]
        if len(kept) == len(self.rows):
            return
        self.state = rows_of(self.state, kept) if kept else ()
        self.hidden = self.hidden[kept]
        self.rows = [self.rows[i] for i in kept]


class Scheduler:
    """All sequences in progress. Not for several threads at once."""

    def __init__(self, slice_tokens: int, prefixes: Prefixes, metrics: Metrics) -> None:
        self._slice_tokens = slice_tokens
        self._prefixes, self._metrics = prefixes, metrics
        self._prompts: deque[_Prompt] = deque()
        self._groups: dict[int, _Group] = {}

    def places(self) -> int:
        """How many rows there are, or will be once the prompts are read."""
        reading = sum(len(prompt.ticket.job.seeds) for prompt in self._prompts)
        return reading + sum(len(group.rows) for group in self._groups.values())

    def add(self, ticket: Ticket) -> None:
        job = ticket.job
        known = None if _is_scored(ticket) else self._prefixes.longest(job.served.name, job.tokens)
        if known is None:
            first = [Scored(job.tokens[0], None)]
            prompt = _Prompt(ticket, 0, 0, job.served.initial, None, first)
        else:
            prompt = _Prompt(ticket, known.length, known.length, known.state, known.hidden, [])
        self._prompts.append(prompt)
        self._metrics.prompt_tokens.inc(len(job.tokens))
        self._metrics.cached_tokens.inc(prompt.cached)

    def step(self) -> None:
        """Reads a slice of prompts, and generates one token of every row."""
        self._drop_cancelled()
        budget = self._slice_tokens
        while self._prompts and budget > 0:
            prompt = self._prompts[0]
            with self._failing([prompt.ticket]):
                budget -= self._read(prompt, budget)
            self._prompts.rotate(-1)
            if prompt.ticket.cancelled or prompt.is_read():
                self._prompts.pop()
        for group in self._groups.values():
            with self._failing([row.ticket for row in group.rows]):
                self._generate(group)
        self._drop_cancelled()
        self._groups = {key: group for key, group in self._groups.items() if group.rows}
        self._metrics.rows.set(self.places())
        self._metrics.prefixes.set(len(self._prefixes))
        self._metrics.prefix_bytes.set(self._prefixes.bytes)

    def fail(self, problem: str) -> None:
        """Ends everything."""
        tickets = [prompt.ticket for prompt in self._prompts]
        tickets += [row.ticket for group in self._groups.values() for row in group.rows]
        _fail(tickets, problem)
        self._drop_cancelled()

    def _read(self, prompt: _Prompt, budget: int) -> int:
        """Reads on in a prompt; gives the number of tokens read."""
        job, size = prompt.ticket.job, self._slice_tokens
        begin, served = prompt.done, job.served
        # Slices end where those of other prompts do, so that equal beginnings are found.
        end = min(len(job.tokens), (begin // size + 1) * size, begin + budget)
        if end > begin:
            part = torch.tensor([job.tokens[begin:end]])
            hidden, prompt.state = served.forward.hidden(part, prompt.state, [served.name])
            prompt.done, prompt.hidden = end, hidden[:, -1:].clone()
            if _is_scored(prompt.ticket):
                prompt.scores += _scores(prompt.ticket, begin, served.forward.logits(hidden)[0])
            if _is_worth_keeping(end, len(job.tokens), size):
                self._prefixes.keep(served.name, job.tokens[:end], prompt.state, prompt.hidden)
        if end == len(job.tokens):
            self._begin_rows(prompt)
        return end - begin

    def _begin_rows(self, prompt: _Prompt) -> None:
        ticket, forward, hidden = prompt.ticket, prompt.ticket.job.served.forward, prompt.hidden
        assert hidden is not None
        self._metrics.first_token.observe(time.monotonic() - ticket.begun)
        rows = [Row(ticket, i, prompt.cached) for i in range(len(ticket.job.seeds))]
        for row in rows:
            row.begin(prompt.scores)
        rows = [row for row in rows if not row.reason]
        if rows:
            group = self._groups.setdefault(id(forward), _Group(forward))
            group.join(rows, joined([prompt.state] * len(rows)), hidden.expand(len(rows), -1, -1))

    def _generate(self, group: _Group) -> None:
        """Every row draws a token, and the rows that go on read it."""
        if not group.rows:
            return
        self._metrics.batch.observe(len(group.rows))
        logits = group.forward.logits(group.hidden)[:, 0]
        for row, scores in zip(group.rows, logits, strict=True):
            with self._failing([row.ticket]):
                row.take(scores)
        self._metrics.generated_tokens.inc(len(group.rows))
        self._keep_ended(group)
        group.keep(lambda row: not (row.reason or row.ticket.cancelled))
        if group.rows:
            tokens = torch.tensor([[row.generated[-1]] for row in group.rows])
            names = [row.ticket.job.served.name for row in group.rows]
            group.hidden, group.state = group.forward.hidden(tokens, group.state, names)

    def _keep_ended(self, group: _Group) -> None:
        for i, row in enumerate(group.rows):
            if row.reason and not row.ticket.cancelled:
                name, state = row.ticket.job.served.name, rows_of(group.state, [i])
                self._prefixes.keep(name, row.read, state, group.hidden[i : i + 1].clone())

    @contextmanager
    def _failing(self, tickets: Sequence[Ticket]) -> Iterator[None]:
        """What goes wrong with some jobs is told to their clients; the others go on."""
        try:
            yield
        except (UserError, RuntimeError, MemoryError) as error:
            _fail(tickets, str(error) or "out of memory")

    def _drop_cancelled(self) -> None:
        self._prompts = deque(prompt for prompt in self._prompts if not prompt.ticket.cancelled)
        for group in self._groups.values():
            group.keep(lambda row: not row.ticket.cancelled)


def _fail(tickets: Sequence[Ticket], problem: str) -> None:
    for ticket in tickets:
        if not ticket.cancelled:
            ticket.cancelled = True
            ticket.sink(Failed(problem))


def _is_scored(ticket: Ticket) -> bool:
    """Whether the client wants to read how likely the prompt is."""
    return ticket.job.echo is not None and ticket.job.top_logprobs is not None


def _scores(ticket: Ticket, begin: int, logits: Float[Tensor, "T V"]) -> list[Scored]:
    """Of the tokens behind those that were read, from `begin` on."""
    tokens, top = ticket.job.tokens[begin + 1 :], ticket.job.top_logprobs
    assert top is not None
    # The last one read may be the prompt's last: what follows it is drawn.
    return [scored(row, token, top) for row, token in zip(logits, tokens, strict=False)]


def _is_worth_keeping(end: int, length: int, size: int) -> bool:
    """Whether other prompts may begin with the first `end` tokens of one of `length`.

    The whole of it, its last slice's beginning, and beginnings that double: a few for each
    prompt, and at least half of what two have in common.
    """
    slices, rest = divmod(end, size)
    if end == length or (not rest and length - end <= size):
        return True
    return not rest and slices & (slices - 1) == 0
