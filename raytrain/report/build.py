"""Report: what happened in one run, finished or not. Read from the run's own files; nothing is run again.

plan.json  job.json                             must be there
metrics.jsonl  evaluations.jsonl  events.jsonl  empty where the run has not come so far
evaluation.json  transfer.json                  there once it was evaluated; where it was fine-tuned
"""

import json
import statistics
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from data_shards.errors import DataError
from data_shards.mix import load_data
from data_shards.shardset import Value
from raytrain.evaluation import Evaluation
from raytrain.plan import RunPlan
from raytrain.runlog import (
    EVALUATIONS,
    EVENTS,
    JOB,
    LAST_EVALUATION,
    METRICS,
    TRANSFER,
    read_file,
    read_plan,
    read_rows,
)

MOST_POINTS = 120  # of a training curve: one per 4 pixels of its chart


class CurvePoint(Value):
    """Some consecutive optimizer steps: `step`, `epoch` and `lr` of the last, means of the rest.

    `data_wait` is the fraction of the steps' time that was spent waiting for data.
    """

    step: int
    epoch: float
    loss: float
    lr: float
    images_per_second: float
    data_wait: float


class Figures(Value):
    """An evaluation's figures; accuracies are fractions."""

    top1: float
    top5: float
    loss: float
    calibration_error: float


class EvaluationPoint(Figures):
    """One evaluation, that of the weights' average (`ema`) and on the slice of training images, where there are."""

    step: int
    epoch: float
    ema: Figures | None = None
    train: Figures | None = None


class Timing(Value):
    """Where the time went, in seconds. `images_per_second` is the median over the steps after the first 10 %.

    `other` is the rest of the wall time from start to finish: starting workers, and steps that were lost and
    made again. It is None where the run has not finished.
    """

    images_per_second: float | None
    compute: float
    data_wait: float
    evaluation: float
    checkpoint: float
    other: float | None


class Event(Value):
    """A line of the run's log: when, what, and its other fields."""

    time: datetime
    event: str
    fields: dict[str, Any]


class Report(Value):
    """What happened in one run.

    `classes` gives the WNIDs of the labels that `evaluation` names; where the data could not be asked,
    it is empty and `data_problem` says why. `evaluation` is the last one, of step `evaluated_step`.
    """

    run: str
    name: str
    plan_hash: str
    plan: RunPlan
    finished: bool
    step: int
    curve: tuple[CurvePoint, ...]
    evaluations: tuple[EvaluationPoint, ...]
    evaluated_step: int | None
    evaluation: Evaluation | None
    timing: Timing
    skipped_steps: int
    workers_lost: int
    resumed: int
    events: tuple[Event, ...]
    transfer: tuple[str, ...]
    data_url: str
    classes: dict[int, str]
    data_problem: str | None

    @property
    def best(self) -> EvaluationPoint | None:
        """The evaluation with the highest top-1, the earliest of equals."""
        return max(self.evaluations, key=lambda point: point.top1, default=None)


def build_report(run_url: str) -> Report:
    """Read a run folder. Raises RunError where it holds no run, or the plan there cannot be read."""
    run = Path(run_url)
    plan = read_plan(run)
    metrics, evaluated = read_rows(run / METRICS), read_rows(run / EVALUATIONS)
    events = tuple(_event(row) for row in read_rows(run / EVENTS))
    step, evaluation = _evaluation(run)
    data_url = json.loads(read_file(run, JOB))["data_url"]
    classes, problem = _classes(data_url, plan, evaluation)
    ends = [entry.event for entry in events if entry.event in ("started", "finished")]
    finished = step == plan.lengths.steps and ends[-1:] == ["finished"]
    return Report(
        run=run_url,
        name=plan.recipe.name,
        plan_hash=plan.hash,
        plan=plan,
        finished=finished,
        step=metrics[-1]["step"] if metrics else 0,
        curve=_curve(metrics),
        evaluations=tuple(
            EvaluationPoint.model_validate(
                {name: row[name] for name in EvaluationPoint.model_fields if name in row}
            )
            for row in evaluated
        ),
        evaluated_step=step,
        evaluation=evaluation,
        timing=_timing(metrics, evaluated, events, finished),
        skipped_steps=sum(not row["applied"] for row in metrics),
        workers_lost=sum(event.event == "worker_lost" for event in events),
        resumed=sum(event.event == "resumed" for event in events),
        events=events,
        transfer=_transfer(run),
        data_url=data_url,
        classes=classes,
        data_problem=problem,
    )


def _evaluation(run: Path) -> tuple[int | None, Evaluation | None]:
    """The last evaluation in full, and its step."""
    if not (run / LAST_EVALUATION).exists():
        return None, None
    whole = json.loads((run / LAST_EVALUATION).read_bytes())
    return whole["step"], Evaluation.model_validate(whole["evaluation"])


def _transfer(run: Path) -> tuple[str, ...]:
    """What a fine-tune carried over from its checkpoint."""
    file = run / TRANSFER
    return tuple(json.loads(file.read_bytes())["lines"]) if file.exists() else ()


def _event(row: dict[str, Any]) -> Event:
    fields = {key: value for key, value in row.items() if key not in ("time", "event")}
    return Event(time=row["time"], event=row["event"], fields=fields)


def _curve(rows: list[dict[str, Any]]) -> tuple[CurvePoint, ...]:
    """At most MOST_POINTS points, each of equally many steps (the last of fewer); skipped steps have no loss."""
    applied = [row for row in rows if row["applied"]]
    each = max(1, -(-len(applied) // MOST_POINTS))
    return tuple(_point(applied[at : at + each]) for at in range(0, len(applied), each))


def _point(rows: list[dict[str, Any]]) -> CurvePoint:
    seconds = sum(row["seconds"] for row in rows)
    return CurvePoint(
        step=rows[-1]["step"],
        epoch=rows[-1]["epoch"],
        loss=statistics.fmean(row["loss"] for row in rows),
        lr=rows[-1]["lr"],
        images_per_second=sum(row["images"] for row in rows) / seconds,
        data_wait=sum(row["wait_seconds"] for row in rows) / seconds,
    )


def _timing(
    metrics: list[dict[str, Any]],
    evaluated: list[dict[str, Any]],
    events: tuple[Event, ...],
    finished: bool,
) -> Timing:
    stepping = sum(row["seconds"] for row in metrics)
    waiting = sum(row["wait_seconds"] for row in metrics)
    evaluating = sum(row["seconds"] for row in evaluated)
    saving = sum(event.fields["seconds"] for event in events if event.event == "checkpoint")
    steady = [row["images"] / row["seconds"] for row in metrics[len(metrics) // 10 :]]
    return Timing(
        images_per_second=statistics.median(steady) if steady else None,
        compute=stepping - waiting,
        data_wait=waiting,
        evaluation=evaluating,
        checkpoint=saving,
        # several clocks were read, so the rest of a run without one may come out a little below zero
        other=max(0.0, _elapsed(events) - stepping - evaluating - saving) if finished else None,
    )


def _elapsed(events: tuple[Event, ...]) -> float:
    """The seconds from each start to its session's last event: the pauses between sessions are nobody's work."""
    return sum(
        (after.time - before.time).total_seconds()
        for before, after in pairwise(events)
        if after.event != "started"
    )


def _classes(url: str, plan: RunPlan, evaluation: Evaluation | None) -> tuple[dict[int, str], str | None]:
    """The WNIDs of the labels that the evaluation names, or why they are not known."""
    if evaluation is None:
        return {}, None
    try:
        data = load_data(url)
    except DataError as error:
        return {}, str(error)
    if data.fingerprint != plan.data.fingerprint:
        return {}, (
            f"the data at {url} is another set now: fingerprint {data.fingerprint[:12]}, "
            f"the run's was {plan.data.fingerprint[:12]}"
        )
    named = {label for pair in evaluation.confusions for label in (pair.label, pair.predicted)}
    named |= {label for mistake in evaluation.mistakes for label in (mistake.label, mistake.predicted)}
    return {label: data.classes[label] for label in sorted(named)}, None
