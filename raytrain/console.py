"""One command, `raytrain`. Each room's commands are named here as text and imported only when they run."""

import signal
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from raytrain import __version__

COMMANDS = {
    "data": ("data_shards.cli", "Make, pack, check and look at shard sets; audit what they delivered."),
    "recipes": ("raytrain.cli.recipes", "List every recipe with its source."),
    "models": ("raytrain.cli.models", "Hold the papers' tables of models against our own count."),
    "plan": ("raytrain.cli.plan", "Derive every number before anything starts."),
    "train": ("raytrain.cli.train", "Train, continue or fine-tune a recipe."),
    "eval": ("raytrain.cli.evaluate", "Evaluate a checkpoint on a split."),
    "export": ("raytrain.cli.export", "Write a checkpoint's weights for other libraries."),
    "report": ("tuning.report.cli", "Make one page of one or more runs, or of a study."),
    "tune": ("tuning.cli", "Sweep a recipe with Ray Tune and Optuna."),
    "improve": ("tuning.method.cli", "Find by trying what keeps a recipe from its target, and change it."),
    "cluster": ("cluster.cli", "Render, submit, follow and stop jobs; examine a cluster."),
    "demo": ("raytrain.cli.demo", "Tell the whole story on this machine, in minutes."),
}


GUESTS = {
    "data": {"audit": "raytrain.cli.audit"},
    "cluster": {"doctor": "raytrain.cli.doctor", "policy": "data_shards.cli_policy"},
}
"""Commands that stand in another room's group, by what they are about: that room does not know of them."""


class Rooms(TyperGroup):
    """A group that knows its commands' names and help lines, and imports a room only to run its command."""

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        # stand-ins that carry the help lines, in the order of work
        self.commands = {name: TyperCommand(name, help=line) for name, (_, line) in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The real command, imported now."""
        name, stand_in, rest = super().resolve_command(ctx, args)
        if stand_in is None or name is None:
            return name, stand_in, rest
        command = get_command(import_module(COMMANDS[name][0]).app)
        command.name = name
        if isinstance(command, TyperGroup):
            for guest, module in GUESTS.get(name, {}).items():
                command.add_command(get_command(import_module(module).app), guest)
        return name, command, rest

    def invoke(self, ctx: Any) -> Any:
        """Run it. Typer checks choices by pydantic, which says "Value error" first: for people that is no news."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")
            raise


app = typer.Typer(cls=Rooms, no_args_is_help=True, add_completion=False)


def _version(asked: bool) -> None:
    if asked:
        print(f"raytrain {__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", callback=_version, is_eager=True, help="Print the version, and nothing else."),
]


@app.callback()
def raytrain(context: typer.Context, _: Version = False) -> None:
    """Large-scale image pretraining on Ray: plan, train, evaluate, report.

    Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 75 stopped and can be continued by the same command,
    130 Ctrl-C on what keeps no state.
    """

    def check_carried(arguments: list[str], fleet: str) -> None:
        from raytrain.cli.carried import check

        check(context, arguments, fleet)

    context.obj = check_carried


def main() -> None:
    """Run the command line. A declared error is one message and its exit code; anything else is our bug."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a SIGTERM unwinds like Ctrl-C
    try:
        app()
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if code is None:
            raise
        print(f"error: {error}" if code != 75 else str(error), file=sys.stderr)
        sys.exit(code)
