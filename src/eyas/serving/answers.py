"""Events become OpenAI's answers, whole or in chunks.

Thinking comes as `reasoning_content` beside `content`, as DeepSeek, vLLM and others have it.
"""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from eyas.serving.jobs import Ended, Event, Piece, TokenSaid
from eyas.serving.orders import Order

Json: TypeAlias = dict[str, Any]


@dataclass
class _Choice:
    reasoning: str = ""
    content: str = ""
    tokens: list[TokenSaid] = field(default_factory=list)
    ended: Ended | None = None


class Answer:
    """The answer to an order, while its events come in."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._chat = order.kind == "chat"
        self._id = f"{'chatcmpl' if self._chat else 'cmpl'}-{secrets.token_hex(12)}"
        self._created = int(time.time())
        self._choices = [_Choice() for _ in range(len(order.jobs) * order.n)]

    def add(self, job: int, event: Event) -> None:
        """Takes an event in, for `whole`."""
        if isinstance(event, Piece):
            choice = self._choices[job * self._order.n + event.choice]
            choice.reasoning += event.reasoning
            choice.content += event.content
            choice.tokens += event.tokens
        elif isinstance(event, Ended):
            self._choices[job * self._order.n + event.choice].ended = event

    def whole(self) -> Json:
        """Everything at once."""
        make = self._chat_choice if self._chat else self._text_choice
        choices = [make(i, choice) for i, choice in enumerate(self._choices)]
        kind = "chat.completion" if self._chat else "text_completion"
        return {**self._frame(kind), "choices": choices, "usage": self._usage()}

    def opening(self) -> list[Json]:
        """The chunks before any token."""
        if not self._chat:
            return []
        start = {"role": "assistant", "content": ""}
        return [self._chunk(i, {"delta": start}) for i in range(len(self._choices))]

    def chunk(self, job: int, event: Event) -> Json:
        """An event as a chunk."""
        self.add(job, event)
        assert isinstance(event, (Piece, Ended))
        index = job * self._order.n + event.choice
        if isinstance(event, Ended):
            body: Json = {"delta": {}} if self._chat else {"text": ""}
            return self._chunk(index, {**body, "finish_reason": event.reason})
        if not self._chat:
            logprobs = self._text_logprobs(event.tokens)
            return self._chunk(index, {"text": event.content, "logprobs": logprobs})
        delta = {"reasoning_content": event.reasoning} if event.reasoning else {}
        if event.content or not delta:
            delta["content"] = event.content
        return self._chunk(index, {"delta": delta, "logprobs": self._chat_logprobs(event.tokens)})

    def closing(self) -> list[Json]:
        """The chunks behind the last token."""
        if not self._order.include_usage:
            return []
        return [{**self._frame(self._chunk_kind()), "choices": [], "usage": self._usage()}]

    def _frame(self, kind: str) -> Json:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._order.model,
        }

    def _chunk_kind(self) -> str:
        return "chat.completion.chunk" if self._chat else "text_completion"

    def _chunk(self, index: int, body: Json) -> Json:
        choice = {"index": index, "logprobs": None, "finish_reason": None, **body}
        chunk = {**self._frame(self._chunk_kind()), "choices": [choice]}
        return {**chunk, "usage": None} if self._order.include_usage else chunk

    def _chat_choice(self, index: int, choice: _Choice) -> Json:
        message = {"role": "assistant", "content": choice.content, "refusal": None}
        if choice.reasoning:
            message["reasoning_content"] = choice.reasoning
        return {
            "index": index,
            "message": message,
            "logprobs": self._chat_logprobs(choice.tokens),
            "finish_reason": choice.ended.reason if choice.ended else None,
        }

    def _text_choice(self, index: int, choice: _Choice) -> Json:
        return {
            "index": index,
            "text": choice.content,
            "logprobs": self._text_logprobs(choice.tokens),
            "finish_reason": choice.ended.reason if choice.ended else None,
        }

    def _chat_logprobs(self, tokens: Sequence[TokenSaid]) -> Json | None:
        if self._order.jobs[0].top_logprobs is None:
            return None
        content = [
            {
                **_token(said.data, said.logprob),
                "top_logprobs": [_token(data, logprob) for data, logprob in said.top],
            }
            for said in tokens
        ]
        return {"content": content, "refusal": None}

    def _text_logprobs(self, tokens: Sequence[TokenSaid]) -> Json | None:
        top = self._order.jobs[0].top_logprobs
        if top is None:
            return None
        likeliest = [
            None if said.logprob is None else {_shown(data): p for data, p in said.top}
            for said in tokens
        ]
        return {
            "tokens": [_shown(said.data) for said in tokens],
            "token_logprobs": [said.logprob for said in tokens],
            "top_logprobs": likeliest if top else None,
            "text_offset": [said.offset for said in tokens],
        }

    def _usage(self) -> Json:
        ended = [choice.ended for choice in self._choices if choice.ended]
        prompt = sum(len(job.tokens) for job in self._order.jobs)
        generated = sum(end.generated for end in ended)
        cached = sum(end.cached for end in ended if end.choice == 0)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": generated,
            "total_tokens": prompt + generated,
            "prompt_tokens_details": {"cached_tokens": cached},
        }


def _token(data: bytes, logprob: float | None) -> Json:
    return {"token": _shown(data), "logprob": logprob, "bytes": list(data)}


def _shown(data: bytes) -> str:
    """The text of a token, as OpenAI shows those that are no whole characters."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)
