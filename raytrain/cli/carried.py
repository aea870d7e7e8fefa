"""A command that goes to a cluster, checked before it is sent: there its mistakes are told once it has machines."""

from collections.abc import Sequence
from typing import Any

from typer import Context
from typer.core import TyperGroup


def check(root: Context, arguments: Sequence[str], fleet: str) -> None:
    """Refuse what raytrain would refuse there, by `root`, the context that it runs in here.

    Raises typer's errors for a command, an option or a value that there is not, and UsageError for a recipe that makes
    no plan for the fleet, or a folder that its nodes cannot share. Data, checkpoints, recipes in files and its own
    fleet files are where the command will run, and are not asked for.
    """
    context: Any = root
    name, command, rest = context.command.resolve_command(context, [*arguments])
    while isinstance(command, TyperGroup) and rest:
        context = Context(command, context, name)
        name, command, rest = command.resolve_command(context, rest)
    made = command.make_context(name, rest, parent=context)
    if "settings" not in made.params:
        return
    source = made.get_parameter_source("fleet")  # the environment here is not the cluster's
    own = made.params["fleet"] if source is not None and source.name == "COMMANDLINE" else fleet
    check_plan(made.params, None if own != fleet and own.endswith((".yaml", ".yml")) else own)


def check_plan(asked: dict[str, Any], fleet: str | None) -> None:
    """Raise UsageError for a recipe or a field that there is not, and where nothing fits even with 16 classes."""
    from cluster.fleet import load_fleet
    from raytrain.cli.options import known_engine
    from raytrain.plan import resolve
    from raytrain.recipes import recipe
    from raytrain.recipes.assumed import assumed_data
    from raytrain.settings import change, parse

    engine = known_engine(asked.get("engine", "deepspeed"))
    machines = load_fleet(fleet, asked["workers"]) if fleet else None
    if machines and "out" in asked:
        check_folder(str(asked["out"]), machines.nodes)
    if ":" in asked["recipe"]:
        return
    wanted = change(recipe(asked["recipe"]), parse(asked["settings"] or []))
    if machines:
        resolve(
            wanted.model_copy(update={"eval_split": "val"}),
            machines,
            assumed_data("synthetic-1k"),
            engine=engine,
            zero_stage=asked.get("zero"),
            auto_micro_batch=asked.get("auto_micro_batch", False),
        )


def check_folder(out: str, nodes: int) -> None:
    """Raise UsageError for a relative path: it is of wherever the command is started, on one node of several."""
    from raytrain.errors import UsageError

    if nodes > 1 and not out.startswith(("/", "s3:/")):
        raise UsageError(
            f"--out {out}: on each of {nodes} nodes that is another folder; give its whole path on a disk that all of "
            "them mount, or s3://bucket/run"
        )
