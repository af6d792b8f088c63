"""eyas as a model of EleutherAI's lm-evaluation-harness (lm_eval 0.4).

    python -m eyas.evaluation.harness run --model eyas --model_args model=MODEL|RUN --tasks TASK

is the harness's own command line with one more model. In a program, importing this module makes
`lm_eval.simple_evaluate(model="eyas", model_args={"model": "…"})` find it. Model arguments: `model`
(a file, a run or a released model's name), `base` and `tokenizer`, as `eyas generate` takes them;
`rows` and `chunk` bound the memory.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lm_eval.models  # noqa: F401  # or it would not list its own models any more
import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model

from eyas.data import tokenizer_for
from eyas.data.messages import Message
from eyas.data.template import render
from eyas.evaluation.greedy import END, greedy
from eyas.evaluation.likelihood import DEFAULT, Bounds, score
from eyas.generation.sampling import Sampling
from eyas.generation.stream import generate
from eyas.run import open_model

_MAX_TOKENS = 256  # the harness's own default
_NAMES = {"temperature", "top_p", "top_k"}


@register_model("eyas")
class Eyas(TemplateLM):
    """A model or a run. A text begins after the end token, as documents do in training."""

    def __init__(
        self,
        model: str,
        base: str | None = None,
        tokenizer: str | None = None,
        rows: int = DEFAULT.rows,
        chunk: int = DEFAULT.chunk,
        **_: Any,  # batch_size, device and the like, which the harness gives to every model
    ) -> None:
        super().__init__()
        self._model, path, chosen = open_model(Path(model), Path(base) if base else None)
        self._tokens = tokenizer_for(self._model.vocab_size, path, tokenizer or chosen)
        self._bounds = Bounds(int(rows), int(chunk))
        self._name = Path(model).name

    @property
    def eot_token_id(self) -> int:
        return END

    @property
    def tokenizer_name(self) -> str:
        """Names the chat template in the harness's cache of requests."""
        return f"eyas-{self._tokens.name}"

    def chat_template(self, chat_template: bool | str = False) -> str:  # noqa: ARG002
        return "RWKV-7 G1"

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        messages = [Message(turn["role"], turn["content"]) for turn in chat_history]
        text = "".join(span.text for span in render(messages))
        return f"{text}\n\nAssistant:" if add_generation_prompt else text

    def tok_encode(
        self,
        string: str,
        add_special_tokens: bool | None = None,  # noqa: ARG002
        **_: Any,
    ) -> list[int]:
        return self._tokens.encode(string)

    def loglikelihood_rolling(
        self,
        requests: list[Instance],
        disable_tqdm: bool = False,  # noqa: ARG002
    ) -> list[float]:
        rows = [[END, *self._tokens.encode(request.args[0])] for request in requests]
        return [total for total, _ in self._scored(rows, [1] * len(rows))]

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        rows = [[*context, *rest] for _, context, rest in requests]
        return self._scored(rows, [len(context) for _, context, _ in requests])

    def _scored(self, rows: Sequence[list[int]], begins: Sequence[int]) -> list[tuple[float, bool]]:
        """Of each row from a token on: the log-likelihood, and whether greedy decoding gives it."""
        lengths = np.array([len(row) for row in rows], np.int64)
        found: dict[int, tuple[float, bool]] = {}
        for i, scored in score(self._model, lengths, lambda i: np.array(rows[i]), self._bounds):
            rest = slice(begins[i] - 1, None)
            total = float(scored.log_probs[rest].sum(dtype=np.float64))
            found[i] = (total, bool(scored.likeliest[rest].all()))
        return [found[i] for i in range(len(rows))]

    def generate_until(
        self,
        requests: list[Instance],
        disable_tqdm: bool = False,  # noqa: ARG002
    ) -> list[str]:
        """The continuation of each request; those that are to be sampled go one by one."""
        texts: list[str] = [""] * len(requests)
        drawn = [i for i, request in enumerate(requests) if request.args[1].get("do_sample")]
        certain = [i for i in range(len(requests)) if i not in set(drawn)]
        for i in drawn:
            texts[i] = self._sampled(*requests[i].args)
        for number, text in self._greedy([requests[i].args for i in certain]):
            texts[certain[number]] = text
        return texts

    def _greedy(self, asked: Sequence[tuple[str, Mapping[str, Any]]]) -> list[tuple[int, str]]:
        counts = [0] * len(asked)
        stops = [_stops(options) for _, options in asked]

        def done(number: int, written: bytes) -> bool:
            counts[number] += 1
            text = written.decode(errors="ignore")
            limit = asked[number][1].get("max_gen_toks", _MAX_TOKENS)
            return counts[number] >= limit or any(stop in text for stop in stops[number])

        prompts = [self._tokens.encode(prompt) or [END] for prompt, _ in asked]
        found = greedy(self._model, self._tokens, prompts, done, self._bounds)
        return [(i, _cut(text.decode(errors="replace"), stops[i])) for i, text in found]

    def _sampled(self, prompt: str, options: Mapping[str, Any]) -> str:
        given = {name: options[name] for name in _NAMES & options.keys()}
        sampling = Sampling(presence_penalty=0.0, frequency_penalty=0.0, **given)
        limit = options.get("max_gen_toks", _MAX_TOKENS)
        stop = tuple(_stops(options))
        return "".join(generate(self._model, self._tokens, prompt, sampling, limit, stop, seed=0))


def _stops(options: Mapping[str, Any]) -> list[str]:
    until = options.get("until") or []
    return [text for text in ([until] if isinstance(until, str) else until) if text]


def _cut(text: str, stops: Sequence[str]) -> str:
    """The text before the first of the stops in it."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(places)] if places else text


if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()
