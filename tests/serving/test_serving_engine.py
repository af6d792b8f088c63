"""What the engine generates, beside `eyas generate`: many jobs at once say what each says alone."""

import queue
import threading
from collections.abc import Iterator, Sequence

import pytest
import torch

from eyas.generation.sampling import GREEDY, Sampling
from eyas.generation.stream import encoded, generate
from eyas.native import library, matvec, token7
from eyas.serving.engine import Engine, QueueFullError, StoppedError
from eyas.serving.jobs import Ended, Event, Failed, Job, Piece, Ticket
from eyas.serving.limits import CapacityConfig
from eyas.serving.metrics import Metrics
from eyas.serving.prefixes import Prefixes
from eyas.serving.scheduler import Scheduler
from eyas.serving.served import Served
from eyas.serving.transcript import Form

TOKENS = 12
PROMPTS = ["Once upon a time", "The cat", "", "a b c d a b c d a b", "User: Who?\n\nAssistant:"]


def job(
    served: Served,
    prompt: str,
    sampling: Sampling = GREEDY,
    tokens: int = TOKENS,
    seeds: tuple[int, ...] = (0,),
    stop: tuple[str, ...] = (),
) -> Job:
    read = encoded(served.tokenizer, prompt, served.forward.model.vocab_size)
    return Job(served, tuple(read), sampling, tokens, seeds, Form(stop), None)


def alone(served: Served, prompt: str, sampling: Sampling = GREEDY, seed: int = 0) -> str:
    with torch.inference_mode():
        return "".join(
            generate(served.forward.model, served.tokenizer, prompt, sampling, TOKENS, (), seed)
        )


def text(events: Sequence[Event], choice: int = 0) -> str:
    return "".join(e.content for e in events if isinstance(e, Piece) and e.choice == choice)


class Collected:
    """A sink that can be waited for."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.done = threading.Event()
        self.choices = 1

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        ended = sum(isinstance(e, Ended) for e in self.events)
        if isinstance(event, Failed) or ended == self.choices:
            self.done.set()

    def text(self, choice: int = 0) -> str:
        assert self.done.wait(60)
        return text(self.events, choice)


def scheduler(slice_tokens: int = 8, memory: int = 0) -> Scheduler:
    return Scheduler(slice_tokens, Prefixes(memory), Metrics())


@torch.inference_mode()
def finish(plan: Scheduler) -> int:
    steps = 0
    while plan.places():
        plan.step()
        steps += 1
    return steps


def ask(plan: Scheduler, wanted: Job) -> list[Event]:
    events: list[Event] = []
    plan.add(Ticket(wanted, events.append))
    return events


@pytest.fixture
def engine() -> Iterator[Engine]:
    running = Engine(CapacityConfig(max_rows=4, max_queue=8, slice_tokens=8), Metrics())
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def base(served: dict[str, Served]) -> Served:
    return served["base"]


def test_jobs_that_join_and_leave_say_what_each_says_alone(base: Served) -> None:
    plan = scheduler()
    warm = Sampling(temperature=0.8)
    told = []
    for i, prompt in enumerate(PROMPTS):
        told.append(ask(plan, job(base, prompt, tokens=4 + 2 * i)))
        told.append(ask(plan, job(base, prompt, warm, seeds=(i,))))
        with torch.inference_mode():
            plan.step()
    finish(plan)
    for i, prompt in enumerate(PROMPTS):
        greedy = alone(base, prompt)
        assert text(told[2 * i]) == greedy[: 4 + 2 * i]
        assert text(told[2 * i + 1]) == alone(base, prompt, warm, i)


@pytest.mark.skipif(library() is None, reason="no library")
def test_compiled_tokens_say_what_the_model_says(base: Served, monkeypatch) -> None:
    rows, read = [], token7.read_token
    monkeypatch.setattr(token7, "read_token", lambda *args: rows.append(args[3]) or read(*args))

    def told() -> list[str]:
        plan = scheduler()
        events = [ask(plan, job(base, prompt)) for prompt in PROMPTS]
        finish(plan)
        return [text(of_one) for of_one in events]

    compiled = told()
    assert max(rows) == len(PROMPTS)
    monkeypatch.setattr(base.forward, "alone", base.forward.model)
    monkeypatch.setattr(matvec, "library", lambda: None)
    rows.clear()
    assert told() == compiled
    assert not rows


def test_a_choice_for_each_seed(base: Served) -> None:
    plan, warm = scheduler(), Sampling()
    events = ask(plan, job(base, "The cat", warm, seeds=(3, 4, 3)))
    finish(plan)
    said = [text(events, choice) for choice in range(3)]
    assert said == [alone(base, "The cat", warm, seed) for seed in (3, 4, 3)]
    ended = [event for event in events if isinstance(event, Ended)]
    assert [(e.reason, e.generated) for e in ended] == [("length", TOKENS)] * 3


def test_long_prompts_do_not_stop_the_others(base: Served) -> None:
    plan = scheduler(slice_tokens=8)
    short = ask(plan, job(base, "The cat"))
    with torch.inference_mode():
        plan.step()
        long = ask(plan, job(base, "x" * 200))
        second = ask(plan, job(base, "y" * 7, tokens=1))
        for _ in range(TOKENS):
            plan.step()
    assert isinstance(short[-1], Ended)
    assert isinstance(second[-1], Ended)
    assert not long
    finish(plan)
    assert text(long) == alone(base, "x" * 200)


def test_known_beginnings_are_not_read_again(base: Served) -> None:
    plan = scheduler(slice_tokens=16, memory=1 << 24)

    def cached(prompt: str) -> tuple[str, int]:
        events = ask(plan, job(base, prompt))
        finish(plan)
        assert isinstance(events[-1], Ended)
        return text(events), events[-1].cached

    first = "User: Tell me of the old king.\n\nAssistant:"
    answer, known = cached(first)
    assert known == 0
    assert cached(first) == (answer, len(first))
    turn = first + answer[:-1] + "\n\nUser: And then?\n\nAssistant:"
    assert cached(turn) == (alone(base, turn), len(first + answer[:-1]))
    # Another question behind the same beginning: up to where a slice of the first one ended.
    other = first[:40] + "?"
    assert cached(other) == (alone(base, other), 32)


def test_cancelled_jobs_give_their_places_back(base: Served) -> None:
    plan = scheduler()
    events: list[Event] = []
    ticket = Ticket(job(base, "The cat", tokens=1000, seeds=(1, 2)), events.append)
    plan.add(ticket)
    other = ask(plan, job(base, "Once upon a time"))
    with torch.inference_mode():
        for _ in range(4):
            plan.step()
    assert plan.places() == 3
    ticket.cancelled = True
    with torch.inference_mode():
        plan.step()
    assert plan.places() == 1
    finish(plan)
    assert text(other) == alone(base, "Once upon a time")


def test_what_fails_in_one_job_leaves_the_others(
    base: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = scheduler()
    good = ask(plan, job(base, "The cat"))
    bad = ask(plan, job(base, "Once"))
    head = base.forward.model.head.forward
    with torch.inference_mode():
        plan.step()

        def broken(x: torch.Tensor) -> torch.Tensor:
            logits = head(x)
            logits[1:] = torch.nan
            return logits

        monkeypatch.setattr(base.forward.model.head, "forward", broken)
        plan.step()
    monkeypatch.undo()
    finish(plan)
    assert isinstance(bad[-1], Failed)
    assert "not finite" in bad[-1].problem
    assert text(good) == alone(base, "The cat")


def test_the_engine_takes_turns(engine: Engine, base: Served) -> None:
    sinks = [Collected() for _ in range(8)]
    for i, sink in enumerate(sinks):
        engine.submit(job(base, PROMPTS[i % 5]), sink)
    assert [sink.text() for sink in sinks] == [alone(base, PROMPTS[i % 5]) for i in range(8)]


def test_the_queue_is_bounded_and_the_end_is_told(base: Served) -> None:
    engine = Engine(CapacityConfig(max_rows=1, max_queue=2), Metrics())
    engine.start()
    sinks = [Collected() for _ in range(3)]
    begun: queue.Queue[Event] = queue.Queue()
    engine.submit(job(base, "The cat", tokens=10**6), begun.put)
    begun.get(timeout=30)
    waiting = [engine.submit(job(base, "x"), sink) for sink in sinks[:2]]
    with pytest.raises(QueueFullError):
        engine.submit(job(base, "x"), sinks[2])
    engine.cancel(waiting[0])
    engine.submit(job(base, "x"), sinks[2])
    engine.stop()
    assert not engine.is_running()
    for sink in sinks[1:]:
        assert sink.done.wait(10)
        assert sink.events == [Failed("the server is stopping")]
    assert not sinks[0].events
    with pytest.raises(StoppedError):
        engine.submit(job(base, "x"), sinks[0])
