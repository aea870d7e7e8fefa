"""What a sweep's state says to the sampler, and to whoever reads the table: how each trial stands."""

from typing import Literal

from tuning.search.rows import SweepState, TrialState
from tuning.search.told import Objective, Told


def told(state: SweepState) -> list[Told]:
    """Every trial that has ended something, in trial order. One that waits at a rung counts as stopped there."""
    return [_told(trial, state) for trial in state.trials if trial.ended or trial.asked.infeasible]


def _told(trial: TrialState, state: SweepState) -> Told:
    """`stopped` has the error of its last rung."""
    rungs = [(row.result.samples, row.result.error) for row in trial.ended if row.result.error is not None]
    asked, last = trial.asked, trial.ended[-1].result if trial.ended else None
    values: dict[Objective, float] = {}
    if last is not None and last.error is not None:
        measured = {**last.values, "error": last.error}
        values = {name: measured[name] for name in state.study.objectives if name in measured}
    how: Literal["done", "stopped", "diverged", "infeasible", "failed"]
    if last is None:
        how = "infeasible"
    elif last.state != "done":
        how = last.state
    else:
        how = "done" if trial.rung == state.last else "stopped"
    return Told(
        number=trial.number,
        point=asked.point,
        state=how,
        values=values,
        violations=asked.violations,
        rungs=tuple(rungs),
        problem=asked.infeasible or (last.problem if last is not None else ""),
    )
