"""A run's folder becomes a Reading: read from its own files, without torch; nothing is run again.

plan.json                                       must be there
metrics.jsonl  evaluations.jsonl  events.jsonl  empty where the run has not come so far
"""

import statistics
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from raytrain.plan import RunPlan
from raytrain.runlog import EVALUATIONS, EVENTS, METRICS, read_plan, read_rows
from tuning.method.values import Point, Rate, Reading
from tuning.search.values import RungResult

Rows = list[dict[str, Any]]


def read_trial(run: Path, ended: RungResult | None = None) -> Reading:
    """The reading of a run, as far as it came; `ended` is what its executor says of it, where there was one.

    Raises RunError where the folder holds no run, or one of another version.
    """
    return reading_of(read_plan(run), run, ended)


def reading_of(plan: RunPlan, run: Path, ended: RungResult | None = None) -> Reading:
    """As `read_trial`, of a run whose plan is known: its folder may be empty, or not be there at all."""
    metrics, evaluated, events = (read_rows(run / name) for name in (METRICS, EVALUATIONS, EVENTS))
    whole = bool(evaluated) and evaluated[-1]["step"] == plan.lengths.steps
    state = ended.state if ended is not None else "done" if whole else _ended_badly(metrics)
    if (
        state == "done" and not whole
    ):  # it was said to be done, and was stopped, or its folder was changed since
        state = "failed"
    last = evaluated[-1] if state == "done" else None
    problem = ended.problem if ended is not None else ""
    at = metrics[-1]["step"] if metrics else 0
    return Reading(
        state=state,
        classes=plan.data.classes,
        train_samples=plan.data.train_samples,
        train=_rate(last.get("train"), plan.data.train_slice) if last else None,
        minival=_rate(last, plan.data.eval_samples) if last else None,
        initial_loss=metrics[0]["loss"] if metrics else None,
        curve=tuple(_point(row) for row in evaluated),
        **_steps(metrics, plan),
        steps=at,
        gpu_hours=plan.placement.workers * _seconds(metrics, evaluated, events) / 3600,
        run=str(run),
        problem=problem if problem or whole else f"it ended at step {at} of {plan.lengths.steps}",
    )


def _ended_badly(metrics: Rows) -> Any:
    """Of a run that did not come to its end: whether its numbers were not finite, or something else happened."""
    return "diverged" if metrics and not metrics[-1]["applied"] else "failed"


def _rate(figures: dict[str, Any] | None, images: int) -> Rate | None:
    """top1 is a share of so many images, so the count comes back whole."""
    return Rate(wrong=round((1 - figures["top1"]) * images), of=images) if figures else None


def _point(row: dict[str, Any]) -> Point:
    train = row.get("train")
    return Point(samples=row["samples"], train=1 - train["top1"] if train else None, minival=1 - row["top1"])


def _steps(metrics: Rows, plan: RunPlan) -> dict[str, Any]:
    """What the steps say together. Speed and waiting are of those after the first tenth, which fills queues."""
    applied, steady = [row for row in metrics if row["applied"]], metrics[len(metrics) // 10 :]
    norms = [row["grad_norm"] for row in applied]
    ratios = [row["update_ratio"] for row in applied if "update_ratio" in row]
    clip = plan.recipe.optimizer.clip_norm
    return {
        "grad_norms": tuple(np.percentile(norms, (50, 90, 99)).tolist()) if norms else None,
        "clipped": sum(norm > clip for norm in norms) / len(norms) if norms and clip is not None else 0.0,
        "update_ratio": statistics.median(ratios) if ratios else None,
        "non_finite": len(metrics) - len(applied),
        "input_wait": sum(r["wait_seconds"] for r in steady) / sum(r["seconds"] for r in steady)
        if steady
        else 0.0,
        "images_per_second": statistics.median(r["images"] / r["seconds"] for r in steady)
        if steady
        else None,
    }


def _seconds(metrics: Rows, evaluated: Rows, events: Rows) -> float:
    """What the run took of its workers' time: its sessions by the wall clock, with steps that were lost and made
    again; or its parts, where no session was noted. Pauses between sessions cost nothing.
    """
    saving = sum(row["seconds"] for row in events if row["event"] == "checkpoint")
    parts = saving + sum(row["seconds"] for row in metrics) + sum(row["seconds"] for row in evaluated)
    times = [(datetime.fromisoformat(row["time"]), row["event"]) for row in events]
    sessions = sum(
        (after - before).total_seconds()
        for (before, _), (after, event) in pairwise(times)
        if event != "started"
    )
    return float(max(parts, sessions))
