"""The real `openai` client against a server over the embedded model."""

import math
import signal
import time

import openai
import pytest
import torch

from eyas.data.template import ask
from eyas.generation.sampling import GREEDY, Sampling
from eyas.generation.stream import encoded, generate
from eyas.serving.guard import Access
from eyas.serving.served import Served

PROMPT = "Once upon a time"
QUESTION = "Who is it?"
USER = [{"role": "user", "content": QUESTION}]
FREE = {"presence_penalty": 0.0, "frequency_penalty": 0.0, "temperature": 0.0}
WARM = Sampling(0.9, 0.95, presence_penalty=0.0, frequency_penalty=0.0)


def alone(
    served: dict[str, Served],
    prompt: str,
    tokens: int,
    sampling: Sampling = GREEDY,
    stop: tuple[str, ...] = (),
    seed: int = 0,
) -> str:
    """What `eyas generate` says."""
    one = served["base"]
    with torch.inference_mode():
        return "".join(
            generate(one.forward.model, one.tokenizer, prompt, sampling, tokens, stop, seed)
        )


def test_models(running) -> None:
    client = running.client()
    (model,) = client.models.list().data
    assert (model.id, model.owned_by) == ("base", "eyas")
    assert client.models.retrieve("base").id == "base"
    with pytest.raises(openai.NotFoundError, match="there are base"):
        client.models.retrieve("bas")


def test_completion_is_what_generate_says(running, served) -> None:
    client = running.client()
    found = client.completions.create(model="base", prompt=PROMPT, max_tokens=12, **FREE)
    assert found.object == "text_completion"
    assert found.choices[0].text == alone(served, PROMPT, 12)
    assert found.choices[0].finish_reason == "length"
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (len(PROMPT), 12)
    assert found.usage.total_tokens == len(PROMPT) + 12
    warm = {"temperature": 0.9, "top_p": 0.95, "presence_penalty": 0, "frequency_penalty": 0}
    seeded = client.completions.create(model="base", prompt=PROMPT, max_tokens=12, seed=7, **warm)
    assert seeded.choices[0].text == alone(served, PROMPT, 12, WARM, seed=7)
    # Where a request has no settings of its own, those of `eyas generate` hold.
    plain = client.completions.create(model="base", prompt=PROMPT, max_tokens=12, seed=3)
    assert plain.choices[0].text == alone(served, PROMPT, 12, Sampling(), seed=3)


def test_several_prompts_and_choices(running, served) -> None:
    tokens = encoded(served["base"].tokenizer, "The cat", 257)
    found = running.client().completions.create(
        model="base", prompt=[tokens, tokens[:3]], n=2, max_tokens=6, echo=True, **FREE
    )
    assert [choice.index for choice in found.choices] == [0, 1, 2, 3]
    assert [choice.text for choice in found.choices] == [
        "The cat" + alone(served, "The cat", 6),
        "The cat" + alone(served, "The cat", 6),
        "The" + alone(served, "The", 6),
        "The" + alone(served, "The", 6),
    ]


def test_chat_in_the_models_template(running, served) -> None:
    found = running.client().chat.completions.create(
        model="base", messages=USER, max_completion_tokens=20, **FREE
    )
    (choice,) = found.choices
    said = alone(served, ask(QUESTION), 20, stop=("\n\n",))
    assert choice.message.content == said.lstrip()
    assert choice.message.role == "assistant"
    assert "reasoning_content" not in (choice.message.model_extra or {})
    turns = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "a\n\n"}]},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    longer = running.client().chat.completions.create(
        model="base", messages=turns, max_tokens=8, stop="zzz", **FREE
    )
    prompt = "System: Be brief.\n\nUser: a\n\nAssistant: b\n\nUser: c\n\nAssistant:"
    assert longer.usage.prompt_tokens == len(prompt)
    said = alone(served, prompt, 8, stop=("\n\n",))
    assert longer.choices[0].message.content == said.lstrip()


def test_chat_streams_what_it_says_at_once(running) -> None:
    settings = {"model": "base", "messages": USER, "max_tokens": 16, "n": 2, "seed": 5}
    whole = running.client().chat.completions.create(**settings)
    chunks = list(
        running.client().chat.completions.create(
            **settings, stream=True, stream_options={"include_usage": True}
        )
    )
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert chunks[0].choices[0].delta.role == "assistant"
    for choice in whole.choices:
        parts = [c.choices[0] for c in chunks if c.choices and c.choices[0].index == choice.index]
        assert "".join(part.delta.content or "" for part in parts) == choice.message.content
        assert [part.finish_reason for part in parts if part.finish_reason] == [
            choice.finish_reason
        ]
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens


def test_stop_texts(running, served) -> None:
    text = alone(served, PROMPT, 12)
    stop = text[4:6]
    found = running.client().completions.create(
        model="base", prompt=PROMPT, max_tokens=12, stop=[stop, "zz"], logprobs=1, **FREE
    )
    (choice,) = found.choices
    assert choice.text == text[: text.find(stop)]
    assert choice.finish_reason == "stop"
    assert "".join(choice.logprobs.tokens) == choice.text


def test_logprobs(running, served) -> None:
    one = served["base"]
    found = running.client().completions.create(
        model="base", prompt=PROMPT, max_tokens=5, logprobs=3, temperature=0.7, seed=1
    )
    told = found.choices[0].logprobs
    assert "".join(told.tokens) == found.choices[0].text
    assert told.text_offset == list(range(5))
    read = encoded(one.tokenizer, PROMPT + found.choices[0].text, 257)
    with torch.inference_mode():
        logits, _ = one.forward.model(torch.tensor([read]))
    exact = logits[0, len(PROMPT) - 1 : -1].double().log_softmax(-1)
    drawn = read[len(PROMPT) :]
    for i, token in enumerate(drawn):
        assert math.isclose(told.token_logprobs[i], exact[i, token], abs_tol=1e-4)
        likeliest = sorted(told.top_logprobs[i].values(), reverse=True)
        torch.testing.assert_close(
            torch.tensor(likeliest), exact[i].topk(3).values.float(), rtol=0, atol=1e-4
        )
    chat = running.client().chat.completions.create(
        model="base", messages=USER, max_tokens=6, logprobs=True, top_logprobs=2, **FREE
    )
    echoed = running.client().completions.create(
        model="base", prompt=PROMPT + found.choices[0].text, max_tokens=0, echo=True, logprobs=3
    )
    again = echoed.choices[0].logprobs
    assert again.tokens == [*PROMPT, *told.tokens]
    assert again.token_logprobs[0] is None
    everything = logits[0].double().log_softmax(-1)
    for i, token in enumerate(read[1:]):
        assert math.isclose(again.token_logprobs[i + 1], everything[i, token], abs_tol=1e-4)
    assert again.top_logprobs[-5:] == [
        pytest.approx(likeliest, abs=1e-4) for likeliest in told.top_logprobs
    ]
    content = chat.choices[0].logprobs.content
    assert [len(token.top_logprobs) for token in content] == [2] * len(content)
    assert content[0].token == content[0].top_logprobs[0].token
    said = bytes(byte for token in content for byte in token.bytes).decode()
    assert said.strip() == chat.choices[0].message.content.strip()


def test_thinking_is_told_apart(running, served) -> None:
    settings = {"model": "base", "messages": USER, "max_tokens": 8, **FREE}
    thinks = running.client().chat.completions.create(**settings, reasoning_effort="low")
    prompt = f"User: {QUESTION} (think a bit)\n\nAssistant: <think"
    assert thinks.usage.prompt_tokens == len(prompt)
    (choice,) = thinks.choices
    said = alone(served, prompt, 8).removeprefix(">").strip()
    assert (choice.message.content, choice.message.model_extra["reasoning_content"]) == ("", said)
    none = running.client().chat.completions.create(**settings, reasoning_effort="none")
    assert none.usage.prompt_tokens == len(ask(QUESTION, False))
    assert "reasoning_content" not in none.choices[0].message.model_extra


def test_turns_of_a_chat_are_not_read_again(start, served) -> None:
    with start(served) as running:
        client = running.client()
        first = client.chat.completions.create(model="base", messages=USER, max_tokens=12, **FREE)
        answer = first.choices[0].message.content
        turns = [*USER, {"role": "assistant", "content": answer}, {"role": "user", "content": "x"}]
        second = client.chat.completions.create(model="base", messages=turns, max_tokens=3)
    assert first.usage.prompt_tokens_details.cached_tokens == 0
    known = second.usage.prompt_tokens_details.cached_tokens
    assert known >= len(ask(QUESTION))


def test_health_and_metrics(running) -> None:
    client = running.client()
    client.completions.create(model="base", prompt="a", max_tokens=3)
    http = client._client
    root = running.url.removesuffix("/v1")
    assert http.get(f"{root}/health").json() == {"status": "ok"}

    def metrics() -> dict[str, str]:
        lines = http.get(f"{root}/metrics").text.splitlines()
        return dict(line.rsplit(" ", 1) for line in lines if line.startswith("eyas_"))

    end = time.monotonic() + 10  # a row is given up just after its last token was sent
    while float(metrics()["eyas_rows"]) and time.monotonic() < end:
        time.sleep(0.01)
    values = metrics()
    assert float(values['eyas_requests_total{path="/v1/completions",status="200"}']) >= 1
    assert float(values["eyas_generated_tokens_total"]) >= 3
    assert float(values["eyas_rows"]) == 0


def test_the_key_is_asked_for(start, served) -> None:
    with start(served, access=Access("s3cret")) as running:
        assert running.client("s3cret").models.list().data[0].id == "base"
        for wrong in ("s3cre", "s3crets", "none"):
            with pytest.raises(openai.AuthenticationError, match="missing or wrong"):
                running.client(wrong).models.list()
        http = running.client("x")._client
        root = running.url.removesuffix("/v1")
        assert http.get(f"{root}/health").status_code == 200
        assert http.get(f"{root}/metrics").status_code == 401
        assert http.get(f"{root}/v1/models", headers={"Authorization": "Bearer é".encode()}
                        ).status_code == 401  # fmt: skip


def test_pages_of_other_origins(start, served) -> None:
    asks = {"Access-Control-Request-Method": "POST"}
    with start(served, access=Access(origins=("https://a.example",))) as running:
        http, root = running.client()._client, running.url
        for origin, allowed in (("https://a.example", True), ("https://b.example", False)):
            head = {"Origin": origin}
            preflight = http.options(f"{root}/chat/completions", headers={**head, **asks})
            assert (preflight.status_code == 200) == allowed
            for answer in (http.get(f"{root}/models", headers=head), preflight):
                told = answer.headers.get("access-control-allow-origin")
                assert told == (origin if allowed else None)


def test_no_page_of_another_origin_by_default(running) -> None:
    answer = running.client()._client.get(f"{running.url}/models", headers={"Origin": "http://a"})
    assert not any(name.startswith("access-control") for name in answer.headers)


def test_the_server_stops_at_the_second_signal(start, served, faults) -> None:
    endless = {"model": "base", "prompt": "a", "max_tokens": 4000, "stream": True, **FREE}
    with start(served) as running:
        stream = running.client().completions.create(**endless, logit_bias={"0": -100})
        next(stream)
        for _ in range(2):
            running.server.handle_exit(signal.SIGTERM, None)
        with pytest.raises(openai.APIError, match="the server is stopping"):
            list(stream)
    assert not running.server.failed
    assert not faults


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_of_the_engine_ends_the_server(start, served, await_, monkeypatch) -> None:
    """What watches over it begins it again; nobody waits for an answer that cannot come."""
    with start(served) as running:
        monkeypatch.setattr(served["base"].forward, "hidden", lambda *_: 1 / 0)
        with pytest.raises(openai.InternalServerError, match="the server has failed"):
            running.client().completions.create(model="base", prompt="b", max_tokens=4)
        await_(lambda: running.server.failed)
