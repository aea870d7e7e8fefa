"""`raytrain improve`: the practical methodology over a recipe, to a target, within a budget."""

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
    make_plan,
)

if TYPE_CHECKING:
    from cluster.fleet import Fleet
    from raytrain.plan import RunPlan
    from raytrain.recipe import Recipe
    from tuning.method.loop import Answerer
    from tuning.method.rows import Row, Started
    from tuning.method.world import World

app = typer.Typer(add_completion=False)
ANSWERS = ("--reject=", "--force=", "--pin=")

Target = Annotated[
    str, typer.Option("--target", help="top1>=0.8, error<=0.2, or paper:NAME for a row of `raytrain models`.")
]
Budget = Annotated[
    float, typer.Option("--budget", min=1e-6, help="GPU-hours in all (worker-hours without GPUs).")
]
Out = Annotated[Path, typer.Option("--out", help="The study's folder, on a disk that all workers share.")]
Auto = Annotated[bool, typer.Option("--auto", help="Accept what is proposed, within the budget.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show a round's trainings, GPU-hours and money, and start nothing.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the study in OUT.")]
Accept = Annotated[bool, typer.Option("--accept", help="Answer the proposal that waits: do it.")]
Reject = Annotated[
    str | None, typer.Option("--reject", metavar="REASON", help="Answer it: not that, the next best.")
]
Force = Annotated[
    str | None, typer.Option("--force", metavar="NAME", help="Make this change, whatever was found.")
]
Pins = Annotated[
    list[str] | None,
    typer.Option(
        "--pin", metavar="PATH[=VALUE]", help="A field of the recipe that no change may set; repeatable."
    ),
]
Freeze = Annotated[bool, typer.Option("--freeze", help="No further change: confirm what there is, and end.")]
FloorText = Annotated[
    str | None,
    typer.Option(
        "--floor", metavar="KIND:V", help="label-noise:V, human:V or published:V, an error; if it is known."
    ),
]
Least = Annotated[
    float | None,
    typer.Option(
        "--least", min=1e-6, max=0.5, help="The least effect on the error that matters; 0.002 if not given."
    ),
]
Seeds = Annotated[
    int, typer.Option("--seeds", min=3, help="Trainings of the baseline, and pairs of a probe.")
]
Length = Annotated[
    float,
    typer.Option(
        "--length", min=0.01, max=1.0, help="Of rounds, as a share of the epochs; confirmed at full length."
    ),
]
Clean = Annotated[
    str | None,
    typer.Option("--clean", metavar="URL", help="The same set with cleaned labels, to probe for them."),
]
CopyTo = Annotated[
    str | None,
    typer.Option("--copy-to", metavar="URL", help="Keep a copy of the ledger there, s3://bucket/prefix."),
]
Executor = Annotated[
    Literal["ray", "here"],
    typer.Option("--executor", help="ray, or here: this process, one worker, without Ray."),
]
Concurrency = Annotated[
    int | None,
    typer.Option(
        "--concurrency", min=1, help="Trainings at a time; as many as the cluster holds if not given."
    ),
]


@app.command()
def improve(
    recipe: RecipeName,
    target: Target,
    budget: Budget,
    data: DataUrl,
    out: Out,
    auto: Auto = False,
    dry_run: DryRun = False,
    resume: Resume = False,
    accept: Accept = False,
    reject: Reject = None,
    force: Force = None,
    pin: Pins = None,
    freeze: Freeze = False,
    floor: FloorText = None,
    least: Least = None,
    seeds: Seeds = 3,
    length: Length = 1.0,
    clean: Clean = None,
    copy_to: CopyTo = None,
    executor: Executor = "ray",
    concurrency: Concurrency = None,
    fleet: FleetName = "local",
    workers: Workers = None,
    settings: Settings = None,
    init: InitUrl = None,
    init_classes: InitClasses = None,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Baseline, what is worst, one change, again: until the target is met, nothing helps or the budget is spent.

    What helps is found by trying: the same seeds with one change and without it. Each proposal waits for an answer, at
    the prompt or as --accept, --reject, --force, --pin or --freeze of a later call. OUT/ledger.jsonl is all that it
    knows, and --resume goes on after any kill.
    """
    from cluster.fleet import load_fleet
    from raytrain.claim import run_lock
    from raytrain.session import absolute, run_folder, warn
    from tuning.ledger import Ledger
    from tuning.method.loop import begin, carry_on
    from tuning.method.opened import opened
    from tuning.method.person import Said, tell_answers
    from tuning.method.rows import ROWS
    from tuning.method.state import replay
    from tuning.method.tell import end_text
    from tuning.search.training import Training

    said = Said(accept=accept, reject=reject, force=force, pins=tuple(pin or ()), freeze=freeze)
    said.check()
    wanted = _started(recipe, target, budget, floor, least, seeds, length)  # before anything that takes time
    plan = make_plan(
        recipe,
        data,
        fleet=fleet,
        workers=workers,
        settings=settings,
        init=init,
        init_classes=init_classes,
        engine="torch" if executor == "here" else "deepspeed",
        zero=1,
    )
    wanted = wanted.model_copy(update={"given": _given(plan, settings)})
    machines, folder = load_fleet(fleet, workers), run_folder(out)
    world = opened(
        Training(plan=plan, fleet=machines, data_url=absolute(data), study=str(folder)),
        clean=clean,
        where=executor,
        concurrency=concurrency,
        address=address,
        say=warn,
    )
    if dry_run:
        print(_forecast(wanted, world, machines))
        return
    with run_lock(folder):
        ledger: Ledger[Row] = Ledger(folder, ROWS, copy=copy_to, say=warn)
        begin(ledger, wanted, world, resume=resume or said.any)
        tell_answers(ledger, world, said, plan.recipe)
        end = carry_on(ledger, world, _answerer(auto, plan.recipe), warn)
    print(end.model_dump_json(indent=1) if as_json else end_text(end, replay(ledger.rows)))


def _started(
    recipe: str, target: str, budget: float, floor: str | None, least: float | None, seeds: int, length: float
) -> "Started":
    from tuning.method.floor import UNKNOWN, parse_floor
    from tuning.method.rows import LEAST, Started
    from tuning.method.target import parse_target

    return Started(
        recipe=recipe,
        target=parse_target(target),
        floor=parse_floor(floor) if floor else UNKNOWN,
        budget=budget,
        seeds=seeds,
        length=length,
        least=least or LEAST,
    )


def _given(plan: "RunPlan", settings: list[str] | None) -> dict[str, str]:
    """What a study's numbers stand on beside the recipe."""
    given = {"data": plan.data.fingerprint, "--set": " ".join(settings or [])}
    return given | ({"--init": plan.init.digest} if plan.init else {})


def _forecast(wanted: "Started", world: "World", fleet: "Fleet") -> str:
    from tuning.method.forecast import forecast, forecast_text
    from tuning.method.state import replay

    price = fleet.node_price_per_hour
    hourly = None if price is None else price * fleet.nodes / fleet.workers
    return forecast_text(forecast(replay([wanted]), world), hourly)


def _answerer(auto: bool, recipe: "Recipe") -> "Answerer":
    """Who answers: `--auto`, the person at this terminal, or nobody now."""
    from tuning.method.answers import accepting
    from tuning.method.person import terminal, waiting

    if auto:
        return accepting
    if sys.stdin.isatty() and sys.stdout.isatty():
        return terminal(print, recipe)
    return waiting(shlex.join(["raytrain", *_without_answers(sys.argv[1:])]), print)


def _without_answers(arguments: list[str]) -> list[str]:
    """The command line without what answers a proposal."""
    kept, left = [], list(arguments)
    while left:
        word = left.pop(0)
        if word in ("--reject", "--force", "--pin"):
            left.pop(0)
        elif word not in ("--accept", "--freeze", "--resume") and not word.startswith(ANSWERS):
            kept.append(word)
    return kept
