"""`raytrain improve`: the practical methodology over a recipe, to a target, within a budget."""

import sys
from pathlib import Path
from typing import Annotated, Literal

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

app = typer.Typer(add_completion=False)

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
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the study in OUT, and begin none if there is none.")
]
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


@app.command("improve")
def command(
    recipe: RecipeName,
    target: Target,
    budget: Budget,
    data: DataUrl,
    out: Out,
    auto: Auto = False,
    forecast: DryRun = False,
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
    the prompt or as --accept, --reject, --force, --pin or --freeze of a later call. The same command goes on after any
    kill: OUT/ledger.jsonl is all that it knows. OUT/report.html and OUT/journal.md tell the whole study.
    """
    from tuning.method.person import Said
    from tuning.method.session import Request, dry_run, improve
    from tuning.method.tell import end_text

    request = Request(
        recipe=recipe,
        data=data,
        out=out,
        where=executor,
        fleet=fleet,
        workers=workers,
        settings=tuple(settings or ()),
        init=init,
        init_classes=init_classes,
        target=target,
        budget=budget,
        floor=floor,
        least=least,
        seeds=seeds,
        length=length,
        clean=clean,
        concurrency=concurrency,
        address=address,
    )
    if forecast:
        print(dry_run(request))
        return
    said = Said(accept=accept, reject=reject, force=force, pins=tuple(pin or ()), freeze=freeze)
    typed = ["raytrain", *sys.argv[1:]]
    end, state = improve(request, said, auto=auto, resume=resume, copy=copy_to, typed=typed)
    if as_json:
        print(end.model_dump_json(indent=1))
    else:
        print(end_text(end, state), f"report       {out / 'report.html'}", sep="\n")
