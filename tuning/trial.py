"""One trial: an ordinary run with some of the recipe's fields changed, and what came of it."""

from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from cluster.errors import ClusterError
from cluster.fleet import Fleet
from data_shards.errors import DataError
from data_shards.mix import load_data
from data_shards.shardset import Value
from data_shards.store import open_store
from raytrain.errors import ResumeLater, RunError
from raytrain.plan import RunPlan, resolve
from raytrain.runlog import EVALUATIONS, METRICS, read_rows
from raytrain.settings import change
from tuning.dimension import Settings
from tuning.space import Space

WORST = (
    0.0  # the top-1 told for a trial that diverged: a finite penalty teaches TPE, a failure or NaN does not
)


SWEEP = "sweep.json"


class Sweep(Value):
    """A sweep: the plan that trials vary, on which machines, over which space. `grace` is in shares of a trial."""

    plan: RunPlan
    fleet: Fleet
    data_url: str
    space: Space
    seed: int
    grace: float


def held_sweep(out: Path) -> Sweep | None:
    """The sweep in this folder; None where there is none. Raises RunError where it cannot be read."""
    if not (out / SWEEP).exists():
        return None
    try:
        return Sweep.model_validate_json((out / SWEEP).read_bytes())
    except ValidationError as error:
        raise RunError(f"{out / SWEEP} is damaged: {error.errors()[0]['msg']}; use another --out") from None


class Outcome(Value):
    """How a trial ended. `top1` is its last evaluation's, a fraction, at or before `step`; None before any."""

    state: Literal["finished", "stopped", "diverged", "failed"]
    step: int
    top1: float | None
    problem: str = ""


def trial_plan(sweep: Sweep, changes: Settings) -> RunPlan:
    """The plan of the trial with these changes. Raises UsageError where a value is refused."""
    base = sweep.plan
    return resolve(
        change(base.recipe, changes),
        sweep.fleet,
        load_data(sweep.data_url),
        url=sweep.data_url,
        init=base.init,
        engine=base.placement.engine,
        zero_stage=2 if base.placement.zero_stage == 2 else 1,
    )


def trial_folder(out: Path, number: int) -> Path:
    """A trial's run: a folder like any other, for `raytrain report`, `eval` and `train --init`."""
    return out / "trials" / f"{number:03d}"


def outcome_file(out: Path, number: int) -> Path:
    """Where a trial says how it ended. Its absence means that it has not."""
    return out / "trials" / f"{number:03d}.json"


def run_trial(config: dict[str, Any], sweep: Sweep, out: str) -> None:
    """What Ray Tune calls: train `config["changes"]` as trial `config["number"]`, to an outcome.

    It ends by itself whatever happens to the run, as killing the driver of a nested Ray Train run leaks its
    placement group (ray#54305). `RAY_TRAIN_*` settings come with the environment of the sweep's connection.
    """
    from ray.tune.integration.ray_train import TuneReportCallback

    from raytrain.driver import quiet_ray, run_job
    from raytrain.worker import Job

    quiet_ray()
    number, folder = config["number"], trial_folder(Path(out), config["number"])
    folder.mkdir(parents=True, exist_ok=True)
    state: Literal["finished", "stopped", "diverged", "failed"] = "finished"
    problem = ""
    try:
        job = Job(plan=trial_plan(sweep, config["changes"]), data_url=sweep.data_url, run=str(folder))
        run_job(job, say=nobody, callbacks=[TuneReportCallback()])
    except ResumeLater:
        state = "stopped"
    except (RunError, DataError, ClusterError) as error:
        state, problem = "diverged" if diverged(folder) else "failed", str(error)
    outcome = Outcome(state=state, **reached(folder), problem=problem)
    open_store(str(out)).write(
        str(outcome_file(Path(out), number).relative_to(out)), outcome.model_dump_json().encode()
    )


def nobody(_: str) -> None:
    """A trial's driver speaks to nobody: its events are in the run's folder."""


def diverged(run: Path) -> bool:
    """Whether the run's last step was not finite."""
    rows = read_rows(run / METRICS)
    return bool(rows) and not rows[-1]["applied"]


def reached(run: Path) -> dict[str, Any]:
    """The last step of a run, and its last evaluation's top-1."""
    steps, evaluations = read_rows(run / METRICS), read_rows(run / EVALUATIONS)
    return {
        "step": steps[-1]["step"] if steps else 0,
        "top1": evaluations[-1]["top1"] if evaluations else None,
    }
