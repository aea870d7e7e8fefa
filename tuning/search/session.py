"""A session: what `raytrain tune` does around the engine. Options become a study and an executor, then a table."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

from cluster.fleet import load_fleet
from data_shards.mix import load_data
from data_shards.shardset import Value
from raytrain.cli.options import make_plan
from raytrain.errors import ResumeLater, UsageError
from raytrain.plan import Init, RunPlan
from raytrain.session import absolute, run_folder, warn
from raytrain.settings import parse
from tuning.dimension import Settings
from tuning.ledger import LEDGER, Called, read_ledger
from tuning.search.engine import Fits, run_sweep
from tuning.search.feasible import ask_plan
from tuning.search.halving import rungs_of
from tuning.search.rows import ROWS, Study, SweepState, replay
from tuning.search.sampler import Strategy
from tuning.search.state import told
from tuning.search.table import Found, command, winner
from tuning.search.told import Objective
from tuning.search.training import Training
from tuning.search.values import Executor
from tuning.space import Space
from tuning.spaces import asked_space

Where = Literal["ray", "here"]

LENGTH = ("epochs", "train_fraction", "regularization.repeats")
"""The fields that say how many samples a run sees."""


class Asked(Value):
    """What is trained, on which data and where, as it was typed."""

    recipe: str
    data: str
    out: Path
    where: Where
    fleet: str
    workers: int | None
    settings: tuple[str, ...]
    init: str | None
    init_classes: str | None


class Request(Asked):
    """A sweep as it was typed."""

    space: tuple[str, ...]
    strategy: Strategy
    objectives: tuple[Objective, ...]
    batch: int
    seed: int


def sweep(
    request: Request,
    *,
    trials: int,
    concurrency: int | None,
    address: str | None,
    copy: str | None,
    typed: str,
) -> Found:
    """Run or continue the sweep that is asked for. `typed` is the command line, for the record.

    Whatever ends it, its report and Optuna's view of it are made anew. Raises what the engine and the executor raise.
    """
    check_alone(request, concurrency)
    out = run_folder(request.out)
    begun = held_state(out) if request.init else None
    start = begun.study.base["init"] if begun else None
    training = training_of(request, Init.model_validate(start) if start else None)
    space = asked_space(request.space, training.plan)
    study = study_of(request, training.plan, space)
    try:
        state = run_sweep(
            study,
            out=out,
            trials=trials,
            executor=executor_for(training, request.where, concurrency, address),
            fits=fits_for(training),
            copy=copy,
            say=warn,
            call=Called(
                command=typed,
                workers=training.plan.placement.workers,
                train=best_command(request, {}),
            ),
        )
    except KeyboardInterrupt:
        raise ResumeLater("the sweep was interrupted; the same command continues it") from None
    finally:
        if (held := held_state(out)) is not None:
            from tuning.report import write_report
            from tuning.search.optuna_view import write_optuna

            write_optuna(out, held.study.space, told(held), held.study.objectives)
            write_report(out)
    line = best_command(request, space.settings(winner(state).point))
    return Found(state=state, workers=training.plan.placement.workers, command=line)


def asked_objectives(names: Sequence[str]) -> tuple[Objective, ...]:
    """The error, and what else is sought. Raises UsageError for an unknown one."""
    known = get_args(Objective)
    for name in names:
        if name not in known:
            raise UsageError(f"--objective {name}: it is one of {', '.join(known)}")
    return tuple(name for name in known if name in ("error", *names))


def check_alone(asked: Asked, concurrency: int | None) -> None:
    """Raise UsageError where this process is asked to train more than one trial, on one worker, at a time."""
    if asked.where == "here" and (asked.workers or 1) > 1:
        raise UsageError(
            f"--workers {asked.workers}: --executor here trains with one; --executor ray takes more"
        )
    if asked.where == "here" and (concurrency or 1) > 1:
        raise UsageError(
            f"--concurrency {concurrency}: --executor here trains one trial at a time; ray trains more"
        )


def training_of(asked: Asked, start: Init | None) -> Training:
    """The plan that trials vary. A fine-tune goes on from the checkpoint that its study began with: `start`."""
    plan = make_plan(
        asked.recipe,
        asked.data,
        fleet=asked.fleet,
        workers=asked.workers,
        settings=list(asked.settings),
        init=asked.init,
        init_classes=asked.init_classes,
        engine="torch" if asked.where == "here" else "deepspeed",
        held=start,
    )
    return Training(
        plan=plan,
        fleet=load_fleet(asked.fleet, asked.workers),
        data_url=absolute(asked.data),
        study=str(run_folder(asked.out)),
    )


def study_of(request: Request, plan: RunPlan, space: Space) -> Study:
    """The study that these options mean. Raises UsageError for a space whose trials differ in length."""
    for param in space.params:
        for settings in param.every:
            for path in LENGTH:
                if path in settings and settings[path] != space.own.get(path):
                    raise UsageError(
                        f"--space {param.name}: it sets {path}, and trials of different lengths cannot be compared. "
                        f"Use --set {path}=... for all of them"
                    )
    return Study(
        base=plan.identity,
        space=space,
        strategy=request.strategy,
        seed=request.seed,
        batch=request.batch,
        objectives=request.objectives,
        rungs=tuple(step * plan.recipe.samples_per_step for step in rungs_of(plan.lengths.steps)),
    )


def best_command(request: Asked, changes: Settings) -> str:
    """The command that trains a trial again, in a folder beside the trials."""
    options = {
        "--fleet": request.fleet if request.fleet != "local" else None,
        "--workers": request.workers,
        "--init": request.init,
        "--init-classes": request.init_classes,
        "--engine": "torch" if request.where == "here" else None,
    }
    settings = {**parse(request.settings), **changes}
    return command(request.recipe, request.data, request.out / "best", options, settings)


@contextmanager
def executor_for(
    training: Training, where: Where, concurrency: int | None, address: str | None
) -> Iterator[Executor]:
    """Ray Tune on a cluster, or this process."""
    if where == "here":
        from tuning.search.inprocess import InProcessExecutor

        yield InProcessExecutor(training, warn)
        return
    from tuning.search.tune_jobs import tune_executor

    with tune_executor(training, concurrency=concurrency, address=address, say=warn) as executor:
        yield executor


def fits_for(training: Training) -> Fits:
    """Ask the plan whether changes fit, before a trial is spent on them."""
    data = load_data(training.data_url)

    def fits(settings: Settings) -> tuple[str, dict[str, float]]:
        asked = ask_plan(training.plan, training.fleet, data, settings)
        return asked.problem, asked.violations

    return fits


def held_state(out: Path) -> SweepState | None:
    """What the sweep in this folder knows; None where there is none. Raises RunError where its ledger is damaged."""
    if not (out / LEDGER).exists():
        return None
    rows, _, _ = read_ledger(out / LEDGER, ROWS)
    return replay(rows) if rows else None
