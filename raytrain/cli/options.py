"""The options that several commands share, and how they become a plan."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

if TYPE_CHECKING:
    from raytrain.plan import Init, RunPlan, Teacher
    from raytrain.plan.values import EngineName as Engine
    from raytrain.plan.values import Stage

RecipeName = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="A recipe's name, as `raytrain recipes` lists them, or your own: FILE.py:FUNCTION.",
    ),
]
DataUrl = Annotated[
    str,
    typer.Option(
        "--data", metavar="URL", help="A shard set, a folder or s3://bucket/prefix, or a mix of some (.yaml)."
    ),
]
FleetName = Annotated[
    str, typer.Option("--fleet", envvar="RAYTRAIN_FLEET", help="A fleet preset or a .yaml file.")
]
Workers = Annotated[
    int | None, typer.Option("--workers", help="Data-parallel workers, instead of the fleet's.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Change a field of the recipe; repeatable."),
]
InitUrl = Annotated[
    str | None,
    typer.Option(
        "--init",
        metavar="CHECKPOINT",
        help="Fine-tune from this checkpoint, or a run's newest; or from a .pth or .safetensors file of "
        "torchvision, timm, Microsoft (Swin) or the CBAM authors.",
    ),
]
InitClasses = Annotated[
    str | None,
    typer.Option(
        "--init-classes",
        metavar="LIST",
        help="The classes of that file's head: imagenet-1k, imagenet-22k (sorted), imagenet-22k-microsoft, a text "
        "file with a WNID per line, or a shard set.",
    ),
]
TeacherUrl = Annotated[
    str | None,
    typer.Option("--teacher", metavar="CHECKPOINT", help="Distil from this checkpoint, or a run's newest."),
]
EngineName = Annotated[str, typer.Option("--engine", help="deepspeed, or torch for its plain twin.")]
ZeroStage = Annotated[
    int | None,
    typer.Option("--zero", min=0, max=3, help="DeepSpeed's ZeRO stage.", show_default="the lowest that fits"),
]
AutoMicroBatch = Annotated[
    bool,
    typer.Option(
        "--auto-micro-batch", help="Find the largest micro-batch that fits the GPUs when training begins."
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address", help="A running Ray cluster; without it RAY_ADDRESS, or one of this command's own."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def make_plan(
    recipe: str,
    data: str | None,
    *,
    fleet: str,
    workers: int | None,
    settings: list[str] | None,
    init: str | None,
    init_classes: str | None = None,
    engine: str,
    zero: int | None = None,
    auto_micro_batch: bool = False,
    held: "Init | None" = None,
    teacher: str | None = None,
    held_teacher: "Teacher | None" = None,
) -> "RunPlan":
    """Resolve the options to a plan; without data, for the data the recipe was made for.

    Loads neither torch nor Ray. `held` is the checkpoint that an earlier start of the same work began from: where
    `init` asks for the same source, that one is meant, though the source may have gone on since; so with the teacher.
    """
    from cluster.fleet import load_fleet
    from data_shards.mix import Mix, load_data
    from raytrain.errors import UsageError
    from raytrain.plan import resolve
    from raytrain.recipes import recipe as named
    from raytrain.recipes.assumed import assumed_data
    from raytrain.settings import change, parse

    chosen = named(recipe)
    wanted = change(chosen, parse(settings or []))
    if teacher is None and wanted.distillation != chosen.distillation:
        raise UsageError(
            "distillation.* is set, and there is no teacher to learn from: give --teacher CHECKPOINT"
        )
    machines = load_fleet(fleet, workers)
    there = load_data(data) if data else assumed_data(chosen.made_for)
    plan = resolve(
        wanted,
        machines,
        there,
        url=data,
        init=_init(init, init_classes, held),
        teacher=_teacher(teacher, held_teacher, there.classes) if teacher else None,
        engine=known_engine(engine),
        zero_stage=cast("Stage | None", zero),
        auto_micro_batch=auto_micro_batch,
    )
    if data and isinstance(there, Mix):
        from data_shards.shared_keys import check_keys  # numpy, which other plans do without

        check_keys(data, there, wanted.eval_split)
    return plan


def known_engine(engine: str) -> "Engine":
    """The engine of that name. Raises UsageError."""
    from raytrain.errors import UsageError

    if engine not in ("deepspeed", "torch"):
        raise UsageError(f"--engine {engine}: it is deepspeed or torch")
    return cast("Engine", engine)


def _init(source: str | None, classes: str | None, held: "Init | None") -> "Init | None":
    from raytrain.errors import UsageError
    from raytrain.manifest import init_from
    from raytrain.weights.source import init_from_file, is_weights_file

    foreign = source is not None and is_weights_file(source)
    if classes is not None and not foreign:
        raise UsageError(
            f"--init-classes {classes} goes with --init FILE: our own checkpoints know their classes themselves"
        )
    if source is None:
        return None
    if "://" not in source:
        source = str(Path(source).absolute())
    if foreign:
        return init_from_file(source, classes, held)
    if held is not None and held.source == source:
        return held
    return init_from(source, lambda line: typer.echo(line, err=True))


def _teacher(source: str, held: "Teacher | None", classes: tuple[str, ...]) -> "Teacher":
    from raytrain.errors import UsageError
    from raytrain.manifest import teacher_from
    from raytrain.weights.source import is_weights_file

    if is_weights_file(source):
        raise UsageError(
            f"--teacher {source}: a file of weights does not say of which network and classes they are; a checkpoint "
            "of ours does. Make one with `raytrain train --init`"
        )
    if "://" not in source:
        source = str(Path(source).absolute())
    if held is not None and held.source == source:
        return held
    return teacher_from(source, classes, lambda line: typer.echo(line, err=True))


def held_plan(run: Path) -> "RunPlan | None":
    """The plan of the run in this folder, None where there is no run: what it started from, and its teacher."""
    from raytrain.remote import fetched
    from raytrain.runlog import PLAN, read_plan

    here = fetched(run)
    return read_plan(here) if (here / PLAN).exists() else None
