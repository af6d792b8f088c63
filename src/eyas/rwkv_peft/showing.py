"""What a run is about to do and what came of it, told in epochs and files."""

import shlex
from collections.abc import Iterator

from eyas.data import colored, step_count
from eyas.interop.rwkv_peft import START
from eyas.observe.documents import print_documents
from eyas.observe.summary import print_summary
from eyas.run import Prepared
from eyas.run.told import data_lines, memory_lines, trained_lines
from eyas.rwkv_peft.files import file_name
from eyas.rwkv_peft.meaning import Plan

_SHOWN = 4


def show(plan: Plan, prepared: Prepared) -> None:
    """Prints the plan, and the first document with what is trained of it."""
    sections = {
        "model": [f"{prepared.run.model.name}: {prepared.model.shape}"],
        "data": data_lines(prepared),
        "trained": trained_lines(prepared),
        "memory": memory_lines(prepared),
        "epochs": list(_epochs(plan, prepared)),
        "files": [f"{prepared.out}: {', '.join(_files(plan, prepared))}"],
    }
    if lines := [*plan.lines, *_on_one_device(plan, prepared)]:
        sections["flags"] = lines
    print_summary(sections)
    corpus = prepared.corpus
    print_documents([(corpus.places[0], colored(corpus, 0, prepared.tokenizer))])


def next_command(plan: Plan, prepared: Prepared) -> str:
    """How the last file becomes a model; "" where it is one."""
    run, out = prepared.run, prepared.out
    last = out / file_name(plan.epochs.numbers_saved()[-1])
    name = run.method.name
    if name == "full":
        return ""
    words = ["python", "merge/merge.py", "--type", name, "--base_model", str(run.model)]
    if name == "pissa":
        words += ["--lora_init", str(out / START)]
    words += ["--lora_checkpoint", str(last), "--output", str(out / f"{run.model.stem}-{name}.pth")]
    return shlex.join(words)


def _epochs(plan: Plan, prepared: Prepared) -> Iterator[str]:
    run, epochs, world = prepared.run, plan.epochs, prepared.ranks.world
    loop = run.loop
    one_pass = step_count(prepared.corpus, run.batch, loop.accumulate, run.seed, 1.0, world)
    yield (
        f"{epochs.count:,} of {epochs.steps:,} steps of {run.batch.micro_batch * world} x "
        f"{loop.accumulate} rows: {prepared.steps / one_pass:.2f} passes over the data"
    )
    if world > 1:
        yield f"{world} processes; {run.engine.what()}"
    elif run.engine.offload:
        yield run.engine.what()
    if prepared.checkpoint:
        yield f"resuming after step {prepared.checkpoint.progress.step:,}"


def _on_one_device(plan: Plan, prepared: Prepared) -> list[str]:
    """What to say of a strategy where there is nothing to spread."""
    engine = prepared.run.engine
    if "strategy" not in plan.given or prepared.ranks.world > 1 or engine.offload:
        return []
    return [f"--strategy {engine.strategy}: nothing to do (one device has it all)"]


def _files(plan: Plan, prepared: Prepared) -> Iterator[str]:
    numbers = plan.epochs.numbers_saved()
    if prepared.run.method.name == "pissa":
        yield START
    if len(numbers) <= _SHOWN:
        yield from map(file_name, numbers)
    else:
        yield f"{file_name(numbers[0])}, {file_name(numbers[1])}, … {file_name(numbers[-1])}"
    yield "train_log.txt, loss_data.jsonl"
