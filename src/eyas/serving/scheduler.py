"""Continuous batching: at every token, one forward for all rows of a model.

The state of a row is a value of fixed size, so that rows join and leave between any two tokens.
A step reads at most `slice_tokens` of prompts, taken in turns, and then generates a token of every
row: a long prompt delays the others by one slice a token, and never by its length.
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
from eyas.generation.compiled import CompiledTokens, compiled
from eyas.models import Model, State
from eyas.serving.batch import joined, rows_of
from eyas.serving.jobs import Failed, Ticket
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


@dataclass
class _Group:
    """The rows of one model, and their states side by side in their order."""

    model: Model | CompiledTokens
    rows: list[Row] = field(default_factory=list)
    state: State = ()

    def join(self, rows: list[Row], state: State) -> None:
        self.state = joined([self.state, state]) if self.rows else state
        self.rows = self.rows + rows

    def keep(self, wanted: Callable[[Row], bool]) -> None:
        kept = [i for i, row in enumerate(self.rows) if wanted(row)]
        if len(kept) == len(self.rows):
            return
        self.state = rows_of(self.state, kept) if kept else ()
        self.rows = [self.rows[i] for i in kept]


class Scheduler:
    """All sequences in progress. Not for several threads at once."""

    def __init__(self, slice_tokens: int, prefixes: Prefixes, metrics: Metrics) -> None:
        self._slice_tokens = slice_tokens
        self._prefixes, self._metrics = prefixes, metrics
        self._prompts: deque[_Prompt] = deque()
        self._groups: dict[int, _Group] = {}
        self._readers: dict[int, Model | CompiledTokens] = {}

    def places(self) -> int:
        """How many rows there are, or will be once the prompts are read."""
        reading = sum(len(prompt.ticket.job.seeds) for prompt in self._prompts)
        return reading + sum(len(group.rows) for group in self._groups.values())

    def add(self, ticket: Ticket) -> None:
        job = ticket.job
        known = self._prefixes.longest(job.served.name, job.tokens)
        if known is None:
            prompt = _Prompt(ticket, 0, 0, job.served.initial, None)
        else:
            prompt = _Prompt(ticket, known.length, known.length, known.state, known.hidden)
        self._prompts.append(prompt)
        self._metrics.prompt_tokens.inc(len(job.tokens))
        self._metrics.cached_tokens.inc(prompt.cached)

    def step(self) -> None:
        """Reads a slice of prompts, and generates one token of every row."""
        self._drop_cancelled()
        budget = self._slice_tokens
        while self._prompts and budget > 0:
            prompt = self._prompts.popleft()
            with self._failing([prompt.ticket]):
                budget -= self._read(prompt, budget)
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
        begin, model = prompt.done, job.served.model
        # Slices end where those of other prompts do, so that equal beginnings are found.
        end = min(len(job.tokens), (begin // size + 1) * size, begin + budget)
        if end > begin:
            part = torch.tensor([job.tokens[begin:end]])
            hidden, prompt.state = model.hidden(part, prompt.state)
            prompt.done, prompt.hidden = end, hidden[:, -1:].clone()
            if _is_worth_keeping(end, len(job.tokens), size):
                self._prefixes.keep(job.served.name, job.tokens[:end], prompt.state, prompt.hidden)
        if end == len(job.tokens):
            self._begin_rows(prompt)
        else:
            self._prompts.append(prompt)
        return end - begin

    def _begin_rows(self, prompt: _Prompt) -> None:
        ticket, model = prompt.ticket, prompt.ticket.job.served.model
        assert prompt.hidden is not None
        logits = model.head(prompt.hidden)[0, 0]
        rows = [Row(ticket, i, prompt.cached) for i in range(len(ticket.job.seeds))]
        self._metrics.first_token.observe(time.monotonic() - ticket.begun)
        self._draw(rows, [logits] * len(rows))
        rows = [row for row in rows if not row.reason]
        if rows:
            group = self._groups.setdefault(id(model), _Group(self._reader(model)))
            group.join(rows, joined([prompt.state] * len(rows)))

    def _reader(self, model: Model) -> Model | CompiledTokens:
        """The model as it reads single tokens fastest here."""
        if id(model) not in self._readers:
            self._readers[id(model)] = compiled(model)
        return self._readers[id(model)]

    def _generate(self, group: _Group) -> None:
        if not group.rows:
            return
        tokens = torch.tensor([[row.generated[-1]] for row in group.rows])
        hidden, group.state = group.model.hidden(tokens, group.state)
        logits = group.model.head(hidden)[:, 0]
        self._metrics.batch.observe(len(group.rows))
        self._draw(group.rows, list(logits))
        for i, row in enumerate(group.rows):
            if row.reason and not row.ticket.cancelled:
                name = row.ticket.job.served.name
                self._prefixes.keep(
                    name, row.read, rows_of(group.state, [i]), hidden[i : i + 1].clone()
                )
        group.keep(lambda row: not row.reason)

    def _draw(self, rows: Sequence[Row], logits: Sequence[Float[Tensor, "V"]]) -> None:
        for row, scores in zip(rows, logits, strict=True):
            with self._failing([row.ticket]):
                row.take(scores)
        self._metrics.generated_tokens.inc(len(rows))

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


def _is_worth_keeping(end: int, length: int, size: int) -> bool:
    """Whether other prompts may begin with the first `end` tokens of one of `length`.

    The whole of it, its last slice's beginning, and beginnings that double: a few for each
    prompt, and at least half of what two have in common.
    """
    slices, rest = divmod(end, size)
    if end == length or (not rest and length - end <= size):
        return True
    return not rest and slices & (slices - 1) == 0
