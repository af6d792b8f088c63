"""From a request's body to the jobs that it takes."""

import dataclasses
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from eyas.config import did_you_mean
from eyas.errors import UserError
from eyas.generation.sampling import Sampling
from eyas.generation.stream import encoded
from eyas.serving.chat import prompted
from eyas.serving.errors import ApiError, wrong
from eyas.serving.jobs import Job
from eyas.serving.limits import CapacityConfig, LimitsConfig
from eyas.serving.requests import ChatRequest, Common, CompletionRequest, parse
from eyas.serving.served import Served
from eyas.serving.transcript import Form

_SEEDS = 2**64
_NAME = 80  # characters of a name that are looked at and shown


@dataclass(frozen=True)
class Order:
    """A request that can be carried out. Choice c of job j is choice j * n + c of the answer."""

    kind: Literal["chat", "text"]
    model: str
    jobs: tuple[Job, ...]
    n: int
    stream: bool
    include_usage: bool


@dataclass(frozen=True)
class Desk:
    """Takes requests: what is served, with what settings where a request has none."""

    served: Mapping[str, Served]
    sampling: Sampling
    limits: LimitsConfig
    capacity: CapacityConfig

    def chat(self, body: bytes) -> Order:
        """Raises ApiError."""
        request = parse(ChatRequest, body)
        served = self.model(request.model)
        if request.top_logprobs and not request.logprobs:
            raise wrong("top_logprobs", "goes with logprobs = true; add it")
        self._check_number(request.n, 1)
        text, form = prompted(
            served.template, request.messages, request.reasoning_effort, request.stop
        )
        tokens = self._tokens(served, text, "messages")
        limit = "max_tokens" if request.max_completion_tokens is None else "max_completion_tokens"
        top = request.top_logprobs if request.logprobs else None
        return _order("chat", request, (self._job(request, served, tokens, form, top, limit),))

    def completion(self, body: bytes) -> Order:
        """Raises ApiError."""
        request = parse(CompletionRequest, body)
        served, top = self.model(request.model), request.logprobs
        self._check_number(request.n, len(request.prompt))
        prompts = [self._tokens(served, one, "prompt") for one in request.prompt]
        if request.echo and top is not None:  # each of their tokens is scored and told
            self._check_length(sum(map(len, prompts)), "prompt")
        form = Form(request.stop)
        jobs = [self._job(request, served, p, form, top, "max_tokens") for p in prompts]
        if request.echo:
            told = [_text(served, prompt) for prompt in request.prompt]
            jobs = [dataclasses.replace(j, echo=t) for j, t in zip(jobs, told, strict=True)]
        return _order("text", request, tuple(jobs))

    def model(self, name: str) -> Served:
        """Raises ApiError (404) where nothing is served under that name."""
        if name not in self.served:
            raise ApiError(
                404,
                f"no model {name[:_NAME]!r}{did_you_mean(name[:_NAME], self.served)}; there are "
                f"{', '.join(self.served)}",
                param="model",
                code="model_not_found",
            )
        return self.served[name]

    def _job(
        self,
        request: Common,
        served: Served,
        tokens: tuple[int, ...],
        form: Form,
        top: int | None,
        limit_name: str,
    ) -> Job:
        first = secrets.randbelow(_SEEDS) if request.seed is None else request.seed
        return Job(
            served,
            tokens,
            self._sampling(request),
            self._limit(getattr(request, limit_name), limit_name),
            tuple((first + i) % _SEEDS for i in range(request.n)),
            form,
            top,
            _bias(request, served),
        )

    def _check_number(self, n: int, prompts: int) -> None:
        """How many answers one request may ask for."""
        rows, queue = self.capacity.max_rows, self.capacity.max_queue
        if n > rows:
            raise wrong("n", f"= {n} is more than the {rows} that this server generates at once")
        if prompts > queue or prompts * n > max(rows, queue):
            raise wrong(
                "prompt",
                f"holds {prompts} prompts, for {prompts * n} answers; at most {queue} prompts and "
                f"{max(rows, queue)} answers are taken at once",
            )

    def _check_length(self, tokens: int, name: str) -> None:
        most = self.limits.max_prompt_tokens
        if tokens > most:
            problem = f"comes to {tokens} tokens, above {most}, this server's limit"
            raise wrong(name, f"{problem} (--max-prompt-tokens)", "context_length_exceeded")

    def _limit(self, asked: int | None, name: str) -> int:
        most = self.limits.max_tokens
        if asked is not None and asked > most:
            raise wrong(
                name,
                f"= {asked} is above {most}, this server's limit (--max-tokens); ask for fewer, or "
                "leave it out",
            )
        return most if asked is None else asked

    def _sampling(self, request: Common) -> Sampling:
        names = [field.name for field in dataclasses.fields(Sampling)]
        asked = {name: getattr(request, name) for name in names}
        given = {name: value for name, value in asked.items() if value is not None}
        try:
            return dataclasses.replace(self.sampling, **given)
        except (ValueError, OverflowError) as error:
            raise ApiError(400, str(error), param=str(error).partition(" ")[0]) from error

    def _tokens(self, served: Served, prompt: str | tuple[int, ...], name: str) -> tuple[int, ...]:
        if isinstance(prompt, str):
            try:
                tokens = encoded(served.tokenizer, prompt, served.vocab_size)
            except UserError as error:
                raise ApiError(400, f"{name!r}: {error}", name) from error
        else:
            tokens = list(prompt)
            _check_tokens(tokens, served, name)
        self._check_length(len(tokens), name)
        return tuple(tokens)


def _order(kind: Literal["chat", "text"], request: Common, jobs: tuple[Job, ...]) -> Order:
    usage = request.stream_options.include_usage
    return Order(kind, request.model, jobs, request.n, request.stream, usage)


def _bias(request: Common, served: Served) -> tuple[tuple[int, float], ...]:
    _check_tokens(request.logit_bias, served, "logit_bias")
    return tuple(request.logit_bias.items())


def _check_tokens(tokens: Iterable[int], served: Served, name: str) -> None:
    size = served.vocab_size
    if (strange := next((t for t in tokens if not 0 <= t < size), None)) is not None:
        raise wrong(name, f"holds token {strange}; there are 0 to {size - 1}")


def _text(served: Served, prompt: str | tuple[int, ...]) -> str:
    if isinstance(prompt, str):
        return prompt
    return b"".join(map(served.tokenizer.token_bytes, prompt)).decode(errors="replace")
