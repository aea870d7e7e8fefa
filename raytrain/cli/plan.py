"""`raytrain plan`: all derived numbers, each with the rule it came from. Loads neither torch nor Ray.

But for `--lr-table`: which parameters a network has, only its modules know.
"""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from raytrain.cli.options import (
    AsJson,
    AutoMicroBatch,
    EngineName,
    FleetName,
    InitClasses,
    InitUrl,
    RecipeName,
    Settings,
    TeacherUrl,
    Workers,
    ZeroStage,
    make_plan,
)

if TYPE_CHECKING:
    from raytrain.plan import RunPlan

app = typer.Typer(add_completion=False)


@app.command()
def plan(
    recipe: RecipeName,
    data: Annotated[
        str | None,
        typer.Option(
            "--data", metavar="URL", help="A packed shard set; the data the recipe was made for if not given."
        ),
    ] = None,
    fleet: FleetName = "local",
    workers: Workers = None,
    settings: Settings = None,
    init: InitUrl = None,
    init_classes: InitClasses = None,
    teacher: TeacherUrl = None,
    engine: EngineName = "deepspeed",
    zero: ZeroStage = None,
    auto_micro_batch: AutoMicroBatch = False,
    lr_table: Annotated[
        bool,
        typer.Option(
            "--lr-table",
            help="Each parameter group's learning rate and decay instead; this alone loads torch.",
        ),
    ] = False,
    compare: Annotated[
        str | None,
        typer.Option(
            "--compare",
            metavar="paper",
            help="Beside the recipe as asked for: as the paper and as the repository have it.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Derive a run: steps, learning rate, memory by part, hours, cost, bytes from S3, and what does not fit."""
    from raytrain.errors import UsageError
    from raytrain.tell import plan_text

    if lr_table and compare is not None:
        raise UsageError("--lr-table and --compare are two pages: ask for one at a time")

    def planned(name: str, changed: list[str] | None) -> "RunPlan":
        return make_plan(
            name,
            data,
            fleet=fleet,
            workers=workers,
            settings=changed,
            init=init,
            init_classes=init_classes,
            teacher=teacher,
            engine=engine,
            zero=zero,
            auto_micro_batch=auto_micro_batch,
        )

    resolved = planned(recipe, settings)
    if compare is not None:
        others = published(compare, recipe)
        print_compared(
            {"recipe": resolved, **{source: planned(name, None) for source, name in others.items()}},
            as_json=as_json,
        )
    elif lr_table:
        print_lr_table(resolved, as_json=as_json)
    else:
        print(resolved.model_dump_json(indent=1) if as_json else plan_text(resolved))


def published(what: str, name: str) -> dict[str, str]:
    """Names of the recipe as its paper and as its repository have it. Raises UsageError where there is neither."""
    from raytrain.errors import UsageError
    from raytrain.recipes import variants

    if what != "paper":
        raise UsageError(f"--compare {what}: it is paper, which shows the repository too")
    found = variants(name)
    if not found:
        raise UsageError(
            f"--compare paper: nothing was published of '{name}'; `raytrain recipes` shows what was"
        )
    return {source: found[source].name for source in ("paper", "repository") if source in found}


def print_compared(plans: "dict[str, RunPlan]", *, as_json: bool) -> None:
    """The plans side by side, and which of the published two there is not."""
    from raytrain.compare import compare_json, compare_text

    if as_json:
        print(json.dumps(compare_json(plans)))
        return
    print(compare_text(plans))
    for absent in {"paper", "repository"} - plans.keys():
        print(f"\nNo recipe here is by its {absent}.")


def print_lr_table(plan: "RunPlan", *, as_json: bool) -> None:
    """The learning rate and decay of every parameter group. Loads torch: the groups need the parameters' names."""
    from rich.console import Console

    from raytrain.lrtable import WIDTH, rates, table
    from raytrain.optim import planned_shapes

    rows = rates(plan, planned_shapes(plan.recipe.model, plan.data.classes, plan.recipe.view.image_size))
    if as_json:
        print(json.dumps([row.model_dump() for row in rows]))
    else:
        console = Console()
        console.width = max(
            console.width, WIDTH
        )  # a narrow terminal breaks lines; rich would leave out digits
        console.print(table(plan, rows))
