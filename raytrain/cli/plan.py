"""`raytrain plan`: all derived numbers, each with the rule it came from. Loads neither torch nor Ray."""

from typing import Annotated

import typer

from raytrain.cli.options import (
    AsJson,
    EngineName,
    FleetName,
    InitUrl,
    RecipeName,
    Settings,
    Workers,
    ZeroStage,
    make_plan,
)

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
    engine: EngineName = "deepspeed",
    zero: ZeroStage = 1,
    as_json: AsJson = False,
) -> None:
    """Derive a run: batches, steps, learning rate, memory, checkpoint size, hours and cost."""
    from raytrain.tell import plan_text

    resolved = make_plan(
        recipe, data, fleet=fleet, workers=workers, settings=settings, init=init, engine=engine, zero=zero
    )
    print(resolved.model_dump_json(indent=1) if as_json else plan_text(resolved))
