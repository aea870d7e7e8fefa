"""`raytrain tune`: a sweep of a recipe. What is searched, how, and where it runs; then what was found."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

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
)

if TYPE_CHECKING:
    from tuning.search.table import Found

app = typer.Typer(add_completion=False)

SpaceTexts = Annotated[
    list[str] | None,
    typer.Option(
        "--space",
        metavar="SPACE",
        help="A ready space's name or a .yaml file; or fields: PATH=LOW:HIGH, PATH=log:LOW:HIGH or "
        "PATH=choice:A,B, repeatable. Without it weight decay and drop path.",
    ),
]
Strategy = Literal["sobol", "tpe", "random"]
Where = Literal["ray", "here"]
Objectives = Annotated[
    list[str] | None,
    typer.Option(
        "--objective",
        help="Sought beside the least error: gmacs or images_per_second; repeatable. Halving goes by the error.",
    ),
]
CopyTo = Annotated[
    str | None,
    typer.Option("--copy-to", metavar="URL", help="Keep a copy of the ledger there, s3://bucket/prefix."),
]


def _list_spaces(asked: bool) -> None:
    if asked:
        from tuning.spaces.show import list_spaces

        print(list_spaces())
        raise typer.Exit


ListSpaces = Annotated[
    bool,
    typer.Option(
        "--list-spaces",
        callback=_list_spaces,
        is_eager=True,
        help="Print the ready spaces, and nothing else.",
    ),
]


@app.command()
def tune(
    recipe: RecipeName,
    data: DataUrl,
    out: Annotated[Path, typer.Option("--out", help="The sweep's folder, on a disk that all workers share.")],
    space: SpaceTexts = None,
    trials: Annotated[int, typer.Option(min=1, help="How many; the first has the recipe's own values.")] = 8,
    strategy: Annotated[
        Strategy,
        typer.Option(help="sobol to explore, tpe to improve on what was found, random to compare with."),
    ] = "tpe",
    objective: Objectives = None,
    batch: Annotated[
        int, typer.Option(min=1, help="How many are decided at once. It is part of the study, unlike:")
    ] = 4,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Trials at a time; as many as the cluster holds if not given.")
    ] = None,
    executor: Annotated[
        Where, typer.Option(help="ray, or here: this process, one worker, without Ray.")
    ] = "ray",
    seed: Annotated[int, typer.Option(min=0, help="Of the search: the same seed tries the same trials.")] = 0,
    copy_to: CopyTo = None,
    fleet: FleetName = "local",
    workers: Workers = None,
    settings: Settings = None,
    init: InitUrl = None,
    init_classes: InitClasses = None,
    address: Address = None,
    as_json: AsJson = False,
    _: ListSpaces = False,
) -> None:
    """Search a recipe's fields for the least error; run again with the same arguments to continue.

    OUT/report.html and OUT/journal.md say what it found and whether that counts. OUT/ledger.jsonl is all that the sweep
    knows, OUT/trials/ID are ordinary runs, and OUT/optuna.db is a view for `optuna-dashboard sqlite:///OUT/optuna.db`.
    """
    from tuning.search.session import Request, asked_objectives, sweep

    request = Request(
        recipe=recipe,
        data=data,
        out=out,
        space=tuple(space or ()),
        strategy=strategy,
        objectives=asked_objectives(objective or ()),
        batch=batch,
        seed=seed,
        where=executor,
        fleet=fleet,
        workers=workers,
        settings=tuple(settings or ()),
        init=init,
        init_classes=init_classes,
    )
    found = sweep(
        request,
        trials=trials,
        concurrency=concurrency,
        address=address,
        copy=copy_to,
        typed=shlex.join(["raytrain", *sys.argv[1:]]),
    )
    _tell(found, out, as_json)


def _tell(found: "Found", out: Path, as_json: bool) -> None:
    """The trials, what they cost, and the command that trains the best of them."""
    from tuning.report.conditions import verdicts
    from tuning.report.sweep import headline
    from tuning.search.table import in_json, table, winner, words

    if as_json:
        print(in_json(found))
        return
    from rich.console import Console

    Console().print(table(found.state))
    print("", *words(found), "", *headline(found.state, verdicts(found.state)), sep="\n")
    best = winner(found.state).number
    print(
        f"\nreport: {out / 'report.html'}\nbest: trial {best}, in {out / 'trials' / f'{best:03d}'}\n{found.command}"
    )
