"""One fine-tuning of the embedded model, watched: losses and exact match on the way."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from eyas.adapters import method_named
from eyas.data import BatchConfig, tokenizer_for
from eyas.data.template import ask
from eyas.demo.score import exact_match
from eyas.demo.tasks import FOLDER, Item, Task
from eyas.errors import UserError
from eyas.generation.sampling import GREEDY
from eyas.generation.stream import generate
from eyas.models import Model, load
from eyas.observe.watching import WatchConfig
from eyas.run import prepare, read_run, train
from eyas.settings import Run
from eyas.training.checkpoint import locked
from eyas.training.events import Event, Finished, Step
from eyas.training.loop import LoopConfig
from eyas.training.optim import OptimConfig

BASE = FOLDER / "base.pth"
RANK = 16
STEPS = {"json": 80, "inflection": 140, "dates": 200, "numbers": 200}
_POINTS = 5  # of the exact-match curve after the start
_CONTEXT = 256


@dataclass(frozen=True)
class Played:
    """What a fine-tuning did. Shares are from 0 to 1."""

    method: str
    out: Path
    losses: list[tuple[int, float]]
    matches: list[tuple[int, float]]  # by step, on the validation items
    before: float  # on the test items
    after: float
    unseen: float | None  # on the test items in wordings that were not trained on
    answers: list[tuple[Item, str, str]]  # an item, the answer before, the answer after


def play(
    task: Task, method: str, out: Path, steps: int, shown: int, eat: Callable[[Event], None]
) -> Played:
    """Fine-tunes the embedded model on a task, in a new run directory `out`.

    shown: how many test items are answered before and after. eat: gets every event.
    Raises KeyboardInterrupt where the training was interrupted.
    """
    _clear(out, task)
    prepared = prepare(demo_run(task, method, out, steps))
    model = prepared.model
    items = task.items(shown)
    losses: list[tuple[int, float]] = []
    matches: list[tuple[int, float]] = []
    every = max(1, prepared.steps // _POINTS)
    for event in train(prepared):
        eat(event)
        if isinstance(event, Finished) and event.reason == "interrupted":
            raise KeyboardInterrupt
        if isinstance(event, Step):
            losses.append((event.step, event.loss))
            if event.step % every == 0:
                matches.append((event.step, exact_match(model, task.valid)))
    base = load(BASE)  # looked at last, so that nobody waits for the first step
    answers_before = [answer(base, item.question) for item in items]
    answers_after = [answer(model, item.question) for item in items]
    return Played(
        method=method,
        out=prepared.out,
        losses=losses,
        matches=[(0, exact_match(base, task.valid)), *matches],
        before=exact_match(base, task.test),
        after=exact_match(model, task.test),
        unseen=exact_match(model, task.unseen) if task.unseen else None,
        answers=list(zip(items, answers_before, answers_after, strict=True)),
    )


def demo_run(task: Task, method: str, out: Path, steps: int) -> Run:
    """The settings of a demo: the same for every method."""
    return Run(
        model=BASE,
        data=(task.train,),
        out=out,
        method=method_named(method, {"rank": RANK}, "demo"),
        batch=BatchConfig(ctx=_CONTEXT, micro_batch=32, dataload="pad"),
        optim=OptimConfig(lr=4e-3, lr_final=2e-4, schedule="cosine", warmup_steps=15),
        loop=LoopConfig(steps=steps),
        watch=WatchConfig(report=False, mfu=False),
    )


@torch.inference_mode()
def answer(model: Model, question: str) -> str:
    """The model's likeliest answer to a question."""
    training = model.training
    model.eval()
    tokenizer = tokenizer_for(model.vocab_size, BASE, None)
    pieces = generate(model, tokenizer, ask(question), GREEDY, 100, ("\n\n",), 0)
    text = "".join(pieces).strip()
    model.train(training)
    return text


def _clear(out: Path, task: Task) -> None:
    """Removes what an earlier demo left in its directory, and nothing else."""
    if not out.is_dir():
        return
    names = [path.name for path in out.iterdir()]
    if "run.toml" in names:
        ours = read_run(out).data[0].name == task.train.name
    else:  # one that ended before it began
        ours = all(name == ".lock" or name.endswith(".tmp") for name in names)
    if not ours:
        raise UserError(f"{out}: exists and is no run of the demo; choose another --out")
    with locked(out):  # not while another demo runs there
        for path in out.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != ".lock":
                path.unlink()
