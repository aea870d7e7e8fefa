"""`raytrain tune`: a sweep of a recipe with Ray Tune, Optuna's TPE and a gentle ASHA."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raytrain.cli.options import (
    Address,
    AsJson,
    DataUrl,
    FleetName,
    InitClasses,
    InitUrl,
    RecipeName,
    Settings,
    Workers,
    make_plan,
)

if TYPE_CHECKING:
    from tuning.table import Row

app = typer.Typer(add_completion=False)


def _list_spaces(asked: bool) -> None:
    if asked:
        from tuning.spaces.show import list_spaces

        print(list_spaces())
        raise typer.Exit


SpaceNames = Annotated[
    list[str] | None,
    typer.Option(
        "--space",
        metavar="SPACE",
        help="A ready space's name or a .yaml file; or fields: PATH=LOW:HIGH, PATH=log:LOW:HIGH or "
        "PATH=choice:A,B, repeatable. Without it weight decay and drop path.",
    ),
]
ListSpaces = Annotated[
    bool,
    typer.Option(
        "--list-spaces", callback=_list_spaces, is_eager=True, help="Print the ready spaces, and no more."
    ),
]


@app.command()
def tune(
    recipe: RecipeName,
    data: DataUrl,
    out: Annotated[Path, typer.Option("--out", help="The sweep's folder, on a disk that all workers share.")],
    space: SpaceNames = None,
    trials: Annotated[int, typer.Option(min=1, help="How many; the first has the recipe's own values.")] = 8,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Trials at a time; as many as the cluster holds if not given.")
    ] = None,
    grace: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Before this share of its steps no trial is stopped; from there on the worse half is, at each "
            "doubling. 1 stops none.",
        ),
    ] = 0.5,
    seed: Annotated[
        int, typer.Option(min=0, help="Of the search; one trial at a time repeats it exactly.")
    ] = 0,
    fleet: FleetName = "local",
    workers: Workers = None,
    settings: Settings = None,
    init: InitUrl = None,
    init_classes: InitClasses = None,
    address: Address = None,
    as_json: AsJson = False,
    _: ListSpaces = False,
) -> None:
    """Search a recipe's fields for the best top-1; run again with the same arguments to continue.

    OUT/trials/ID are ordinary runs, OUT/study.db is an Optuna storage (`optuna-dashboard sqlite:///OUT/study.db`).
    """
    from cluster.fleet import load_fleet
    from raytrain.session import absolute, run_folder, warn
    from raytrain.settings import parse
    from tuning.spaces import asked_space
    from tuning.spaces.show import show, show_fixed
    from tuning.trial import Sweep, held_sweep

    folder = run_folder(out)
    earlier = held_sweep(folder) if init else None
    base = make_plan(
        recipe,
        data,
        fleet=fleet,
        workers=workers,
        settings=settings,
        init=init,
        init_classes=init_classes,
        engine="deepspeed",
        zero=1,
        held=earlier.plan.init if earlier else None,
    )

    sweep = Sweep(
        plan=base,
        fleet=load_fleet(fleet, workers),
        data_url=absolute(data),
        space=asked_space(space or (), base),
        seed=seed,
        grace=grace,
    )
    for line in (*show(sweep.space), *show_fixed(sweep.space)):
        warn(line)
    from tuning.sweep import run_sweep
    from tuning.table import best, command, read_rows

    run_sweep(sweep, out=folder, trials=trials, concurrency=concurrency, address=address, say=warn)
    rows = read_rows(folder)
    winner = best(rows)
    options = {"--fleet": fleet if fleet != "local" else None, "--workers": workers}
    options |= {"--init": init, "--init-classes": init_classes}
    line = command(recipe, data, out / "best", options, {**parse(settings or []), **winner.changes})
    _tell(rows, winner, line, as_json)


def _tell(rows: "Sequence[Row]", winner: "Row", line: str, as_json: bool) -> None:
    """The trials, the best one, and the command that trains it."""
    if as_json:
        print(
            json.dumps({"trials": [row.model_dump() for row in rows], "best": winner.trial, "command": line})
        )
        return
    from rich.console import Console

    from tuning.table import table

    Console(file=sys.stdout).print(table(rows))
    print(f"\nbest: trial {winner.trial}, in {winner.run}\n{line}")
