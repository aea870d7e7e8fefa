"""A command that goes to a cluster, checked before it is sent: there its mistakes are told once it has machines."""

from collections.abc import Sequence
from typing import Any

from typer import Context
from typer.core import TyperGroup


def check(root: Context, arguments: Sequence[str], fleet: str) -> None:
    """Refuse what raytrain would refuse there, by `root`, the context that it runs in here.

    Raises typer's errors for a command, an option or a value that there is not, and UsageError for a recipe that makes
    no plan for the fleet. Data, checkpoints and recipes in files are where the command will run, and are not asked for.
    """
    context: Any = root
    name, command, rest = context.command.resolve_command(context, [*arguments])
    while isinstance(command, TyperGroup) and rest:
        context = Context(command, context, name)
        name, command, rest = command.resolve_command(context, rest)
    asked = command.make_context(name, rest, parent=context).params
    if "settings" in asked and ":" not in asked["recipe"]:
        check_plan(asked, fleet)


def check_plan(asked: dict[str, Any], fleet: str) -> None:
    """Raise UsageError for a recipe or a field that there is not, and where nothing fits even with 1,000 classes."""
    from cluster.fleet import load_fleet
    from raytrain.plan import resolve
    from raytrain.recipes import recipe
    from raytrain.recipes.assumed import assumed_data
    from raytrain.settings import change, parse

    wanted = change(recipe(asked["recipe"]), parse(asked["settings"] or []))
    resolve(
        wanted.model_copy(update={"eval_split": "val"}),
        load_fleet(fleet, asked["workers"]),
        assumed_data("imagenet-1k"),
        engine=asked.get("engine", "deepspeed"),
        zero_stage=asked.get("zero"),
    )
