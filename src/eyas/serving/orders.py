"""From a request's body to the jobs that it takes."""

import dataclasses
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from eyas.config import did_you_mean
from eyas.errors import UserError
from eyas.generation.sampling import Sampling
from eyas.generation.stream import END, encoded
from eyas.serving.chat import prompted
from eyas.serving.errors import ApiError
from eyas.serving.jobs import Job
from eyas.serving.limits import CapacityConfig, LimitsConfig
from eyas.serving.requests import ChatRequest, Common, CompletionRequest, parse
from eyas.serving.served import Served
from eyas.serving.transcript import Form

_SEEDS = 2**64


@dataclass(frozen=True)
class Order:
    """A request that can be carried out. Choice c of job j is choice j * n + c of the answer."""

    kind: Literal["chat", "text"]
    model: str
    jobs: tuple[Job, ...]
    n: int
    stream: bool
    include_usage: bool
    echoes: tuple[str, ...] = ()  # what comes before each job's text


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
            raise ApiError(
                400, "'top_logprobs' goes with logprobs = true; add it", param="top_logprobs"
            )
        text, form = prompted(
            served.template, request.messages, request.reasoning_effort, request.stop
        )
        tokens = self._tokens(served, text, "messages")
        top = request.top_logprobs if request.logprobs else None
        most = request.max_completion_tokens or request.max_tokens
        return self._order("chat", request, served, [tokens], form, top, most)

    def completion(self, body: bytes) -> Order:
        """Raises ApiError."""
        request = parse(CompletionRequest, body)
        served = self.model(request.model)
        if len(request.prompt) > self.capacity.max_queue:
            raise ApiError(
                400,
                f"'prompt' holds {len(request.prompt)} prompts; at most {self.capacity.max_queue} "
                "are taken at once",
                param="prompt",
            )
        if request.echo and request.logprobs is not None:
            raise ApiError(
                400, "'echo' goes without logprobs: prompts have none here", param="echo"
            )
        prompts = [self._tokens(served, one, "prompt") for one in request.prompt]
        order = self._order(
            "text", request, served, prompts, Form(request.stop), request.logprobs,
            request.max_tokens,
        )  # fmt: skip
        if not request.echo:
            return order
        return dataclasses.replace(order, echoes=tuple(_text(served, p) for p in request.prompt))

    def model(self, name: str) -> Served:
        """Raises ApiError (404) where nothing is served under that name."""
        if name not in self.served:
            raise ApiError(
                404,
                f"no model {name[:80]!r}{did_you_mean(name[:80], self.served)}; there are "
                f"{', '.join(self.served)}",
                param="model",
                code="model_not_found",
            )
        return self.served[name]

    def _order(
        self,
        kind: Literal["chat", "text"],
        request: Common,
        served: Served,
        prompts: list[tuple[int, ...]],
        form: Form,
        top: int | None,
        most: int | None,
    ) -> Order:
        if request.n > self.capacity.max_rows:
            raise ApiError(
                400,
                f"'n' = {request.n} is more than the {self.capacity.max_rows} choices that this "
                "server generates at once",
                param="n",
            )
        first = secrets.randbelow(_SEEDS) if request.seed is None else request.seed
        seeds = tuple((first + i) % _SEEDS for i in range(request.n))
        sampling, limit = self._sampling(request), self._limit(most, kind)
        jobs = tuple(Job(served, p, sampling, limit, seeds, form, top) for p in prompts)
        usage = request.stream_options.include_usage
        return Order(kind, served.name, jobs, request.n, request.stream, usage)

    def _limit(self, asked: int | None, kind: str) -> int:
        most = self.limits.max_tokens
        if asked is None:
            return most
        if asked > most:
            raise ApiError(
                400,
                f"'max_tokens' = {asked} is above {most}, this server's limit (--max-tokens); ask "
                f"for fewer{', or leave it out' if kind == 'chat' else ''}",
                param="max_tokens",
            )
        return asked

    def _sampling(self, request: Common) -> Sampling:
        names = [field.name for field in dataclasses.fields(Sampling)]
        asked = {name: getattr(request, name) for name in names}
        given = {name: value for name, value in asked.items() if value is not None}
        try:
            return dataclasses.replace(self.sampling, **given)
        except (ValueError, OverflowError) as error:
            raise ApiError(400, str(error), param=str(error).partition(" ")[0]) from error

    def _tokens(self, served: Served, prompt: str | tuple[int, ...], param: str) -> tuple[int, ...]:
        size = served.model.vocab_size
        if isinstance(prompt, str):
            try:
                tokens = encoded(served.tokenizer, prompt, size)
            except UserError as error:
                raise ApiError(400, f"{param!r}: {error}", param=param) from error
        elif wrong := [token for token in prompt if not 0 <= token < size]:
            raise ApiError(
                400, f"{param!r} holds token {wrong[0]}; there are 0 to {size - 1}", param=param
            )
        else:
            tokens = list(prompt) or [END]
        if len(tokens) > self.limits.max_prompt_tokens:
            raise ApiError(
                400,
                f"{param!r} comes to {len(tokens)} tokens, above {self.limits.max_prompt_tokens}, "
                "this server's limit (--max-prompt-tokens)",
                param=param,
                code="context_length_exceeded",
            )
        return tuple(tokens)


def _text(served: Served, prompt: str | tuple[int, ...]) -> str:
    if isinstance(prompt, str):
        return prompt
    return b"".join(map(served.tokenizer.token_bytes, prompt)).decode(errors="replace")
