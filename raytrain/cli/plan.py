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
    zero: ZeroStage = 1,
    auto_micro_batch: AutoMicroBatch = False,
    lr_table: Annotated[
        bool,
        typer.Option(
            "--lr-table",
            help="Each parameter group's learning rate and decay instead; this alone loads torch.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Derive a run: batches, steps, learning rate, memory, checkpoint size, hours and cost."""
    from raytrain.tell import plan_text

    resolved = make_plan(
        recipe,
        data,
        fleet=fleet,
        workers=workers,
        settings=settings,
        init=init,
        init_classes=init_classes,
        teacher=teacher,
        engine=engine,
        zero=zero,
        auto_micro_batch=auto_micro_batch,
    )
    if lr_table:
        print_lr_table(resolved, as_json=as_json)
    else:
        print(resolved.model_dump_json(indent=1) if as_json else plan_text(resolved))


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
