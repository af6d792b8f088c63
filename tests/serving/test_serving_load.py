"""Many clients at once: nothing is lost, nothing is mixed up, and memory stays as it is."""

import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import torch

from eyas.generation.sampling import GREEDY
from eyas.generation.stream import generate

CLIENTS, ROUNDS, TOKENS = 8, 3, 8
PROMPTS = ["Once upon a time", "The cat", "a b c d a b", "User: Who?\n\nAssistant:", "x" * 150]
FREE = {"presence_penalty": 0.0, "frequency_penalty": 0.0, "temperature": 0.0}
SECONDS, GROWTH = 90, 40 * 2**20


def test_each_client_gets_its_own_answer(running, served) -> None:
    one, expected = served["base"], {}
    for prompt in PROMPTS:
        with torch.inference_mode():
            said = generate(one.forward.model, one.tokenizer, prompt, GREEDY, TOKENS, (), 0)
            expected[prompt] = "".join(said)
    assert len(set(expected.values())) == len(PROMPTS)

    def ask(number: int) -> list[tuple[str, str]]:
        client, told = running.client(), []
        for i in range(ROUNDS):
            prompt = PROMPTS[(number + i) % len(PROMPTS)]
            made = client.completions.create(
                model="base", prompt=prompt, max_tokens=TOKENS, stream=bool(number % 2), **FREE
            )
            chunks = made if number % 2 else [made]
            told.append((prompt, "".join(chunk.choices[0].text for chunk in chunks)))
        return told

    def round_of_all() -> list[tuple[str, str]]:
        with ThreadPoolExecutor(CLIENTS) as pool:
            return [answer for told in pool.map(ask, range(CLIENTS)) for answer in told]

    begun = time.monotonic()
    first = round_of_all()
    used = psutil.Process().memory_info().rss
    second = round_of_all()
    assert psutil.Process().memory_info().rss - used < GROWTH
    assert time.monotonic() - begun < SECONDS
    for answers in (first, second):
        assert len(answers) == CLIENTS * ROUNDS
        for prompt, said in answers:
            assert said == expected[prompt]
