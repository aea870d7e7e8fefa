"""`raytrain train`: run a plan on Ray to its end, or continue it."""

from pathlib import Path
from typing import Annotated

import typer

from raytrain.cli.options import (
    Address,
    AutoMicroBatch,
    DataUrl,
    EngineName,
    FleetName,
    InitClasses,
    InitUrl,
    RecipeName,
    Settings,
    TeacherUrl,
    Workers,
    ZeroStage,
    held_plan,
    make_plan,
)

app = typer.Typer(add_completion=False)


@app.command()
def train(
    recipe: RecipeName,
    data: DataUrl,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            help="The run's folder, on a disk that all workers share; or s3://bucket/run, without one.",
        ),
    ],
    fleet: FleetName = "local",
    workers: Workers = None,
    settings: Settings = None,
    init: InitUrl = None,
    init_classes: InitClasses = None,
    teacher: TeacherUrl = None,
    engine: EngineName = "deepspeed",
    zero: ZeroStage = None,
    auto_micro_batch: AutoMicroBatch = False,
    max_bad: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Stop if more of the training images (and more than 1) are undecodable."
        ),
    ] = 1e-4,
    address: Address = None,
) -> None:
    """Train a recipe; run again with the same arguments to continue. `touch OUT/stop` stops it with a checkpoint."""
    from raytrain.session import train_and_report

    held = held_plan(out) if init or teacher else None
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
        held=held.init if held else None,
        held_teacher=held.teacher if held else None,
    )
    train_and_report(resolved, data=data, out=out, address=address, max_bad=max_bad)
