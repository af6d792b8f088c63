"""The command line. Each verb is one thin file; none is imported before it is called."""

import os
import sys

import click

from eyas.cli.options import Group, Verb, run_cli

_VERBS = {
    "train": Verb("eyas.cli.train:train", "Fine-tune a model on a data file."),
    "prepare": Verb("eyas.cli.prepare:command", "Turn data into a file of tokens, for many runs."),
    "sweep": Verb("eyas.cli.sweep:sweep", "Compare methods and learning rates in short runs."),
    "merge": Verb("eyas.cli.merge:merge", "Write base and adapter as one model file."),
    "convert": Verb("eyas.cli.convert:command", "Write an adapter in another program's form."),
    "export": Verb("eyas.cli.export:command", "Write a model or a run for another program."),
    "inspect": Verb("eyas.cli.inspect:command", "Say what a file is and what it is good for."),
    "generate": Verb("eyas.cli.generate:generate", "Continue a prompt with a model or a run."),
    "serve": Verb("eyas.cli.serve:serve", "Serve a model over HTTP as OpenAI's API."),
    "eval": Verb("eyas.cli.evaluate:command", "Score a model on data, and a run beside its base."),
    "models": Verb("eyas.cli.models:command", "List released models, and which of them fit."),
    "pull": Verb("eyas.cli.pull:command", "Download a released model, and check it."),
    "chat": Verb("eyas.cli.chat:command", "Talk with a model or a run."),
    "doctor": Verb("eyas.cli.doctor:doctor", "Say what this machine can do, and what is in use."),
    "demo": Verb("eyas.cli.demo:demo", "Fine-tune the embedded model and see the difference."),
}


def _version(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:  # noqa: ARG001
    if wanted:
        from importlib.metadata import version

        click.echo(f"eyas {version('eyas')}")
        ctx.exit()


group = Group(
    "eyas",
    _VERBS,
    "Fine-tunes RWKV language models.",
    [
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_version,
            help="Show the version.",
        )
    ],
)


def main() -> int:
    code = run_cli(group)
    if "torch.distributed" not in sys.modules:
        return code
    from eyas.training.ranks import leave

    return leave(code, os.environ)
