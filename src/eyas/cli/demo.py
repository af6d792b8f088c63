"""`eyas demo`: the main job on the embedded model, from data to a merged file, in a minute."""

import os
import time
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eyas.demo.play import BASE, RANK, STEPS, Played, play
from eyas.demo.tasks import TASK_NAMES, Task, load_task, read_items, score
from eyas.models import load
from eyas.observe.chart import Curve, draw, text_chart
from eyas.observe.console import console
from eyas.run import merge_run
from eyas.training.events import Event, Step

_SHOWN = 4


@click.command(short_help="Fine-tune the embedded model and see the difference.")
@click.option("--task", default="json", show_default=True, type=click.Choice(TASK_NAMES))
@click.option(
    "--compare",
    type=click.Choice(["lora"]),
    help="fine-tune with this method too, at the same settings",
)
@click.option(
    "--steps", type=click.IntRange(1), help="optimizer steps [default: as many as the task needs]"
)
@click.option(
    "--out", default="eyas-demo", show_default=True, type=click.Path(path_type=Path), help="folder"
)
def demo(task: str, compare: str | None, steps: int | None, out: Path) -> None:
    """Fine-tune the tiny RWKV-7 that ships with eyas, with PiSSA, and see what it learned.

    Questions of the test share nothing with those of the training: other names, other numbers.
    """
    terminal, chosen = Console(highlight=False), load_task(task)
    steps = steps or STEPS[task]
    terminal.print(
        f"[bold]base[/]  {load(BASE).shape}, pretrained on fairy tales and generated text"
    )
    terminal.print(f"[bold]task[/]  {chosen.name}: {chosen.description}\n")
    try:
        played = [
            _play(terminal, chosen, method, out, steps)
            for method in ("pissa", *([compare] if compare else []))
        ]
    except KeyboardInterrupt:
        terminal.print("interrupted; the same command begins the demo anew")
        raise
    _show_curves(terminal, played, played[0].out / "loss.png")
    _show_answers(terminal, played[0])
    _show_scores(terminal, chosen, played)
    _show_merge(terminal, played[0])


def _play(terminal: Console, task: Task, method: str, out: Path, steps: int) -> Played:
    started = time.perf_counter()
    terminal.print(f"[bold]{method}[/], rank {RANK}, {steps} steps")
    with console(steps, terminal) as sink:

        def eat(event: Event) -> None:
            if isinstance(event, Step):  # the rest is told at the end
                sink(event)

        played = play(task, method, out / f"{task.name}-{method}", steps, _SHOWN, eat)
    terminal.print(f"{time.perf_counter() - started:.0f} s, evaluations included\n")
    return played


def _show_curves(terminal: Console, played: list[Played], picture: Path) -> None:
    for run in played:
        terminal.print(f"[bold]loss, {run.method}[/] (nats a token, by step)")
        terminal.print(text_chart(run.losses), markup=False)
    terminal.print("[bold]exact match on validation items[/]")
    table = Table()
    table.add_column("step", justify="right")
    for run in played:
        table.add_column(run.method, justify="right")
    for i, (step, _) in enumerate(played[0].matches):
        table.add_row(str(step), *(f"{run.matches[i][1]:.1%}" for run in played))
    terminal.print(table)
    curves = [Curve(f"{run.method}, training loss", run.losses) for run in played]
    draw(curves, picture, "loss (nats per token)")
    terminal.print(f"the curve as a picture: {os.path.relpath(picture)}\n", soft_wrap=True)


def _show_answers(terminal: Console, run: Played) -> None:
    for item, before, after in run.answers:
        terminal.print(f"[bold]User:[/] {escape(item.question)}")
        terminal.print(f"  before  [red]{escape(before) or '(nothing)'}[/]")
        terminal.print(f"  after   [green]{escape(after) or '(nothing)'}[/]")
        terminal.print(f"  right   {escape(item.answer)}\n")


def _show_scores(terminal: Console, task: Task, played: list[Played]) -> None:
    items = read_items(task.test)
    unseen = read_items(task.unseen) if task.unseen else []
    terminal.print(
        f"[bold]exact match on {len(items)} test items that share nothing with the training[/]"
    )
    table = Table("", "before", "after")
    if unseen:
        table.add_column(f"after, new wordings ({len(unseen)} items)")
    for run in played:
        more = [f"{run.unseen:.1%}"] if run.unseen is not None else []
        table.add_row(run.method, f"{run.before:.1%}", f"[bold]{run.after:.1%}[/]", *more)
    for rule in task.rules:
        more = [f"{score(rule, unseen):.1%}"] if unseen else []
        table.add_row(f"{rule.name} (no learning)", "", f"{score(rule, items):.1%}", *more)
    terminal.print(table)
    if len(played) > 1:
        terminal.print(
            "The same settings for both; part of any lead is an effect of the learning rate."
        )


def _show_merge(terminal: Console, run: Played) -> None:
    merged = merge_run(run.out)
    shown = os.path.relpath(merged.path)
    terminal.print(f"\n[bold]merged[/]  {shown}", soft_wrap=True)
    for line in merged.told():
        terminal.print(f"        {line}", soft_wrap=True)
    terminal.print(
        f"\nAsk it:  eyas generate {shown} --chat '…' --temperature 0\n"
        "With a model of your own:  eyas train MODEL.pth DATA.jsonl --dry-run",
        soft_wrap=True,
        markup=False,
    )
