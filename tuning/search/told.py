"""What a search is told of a trial that ended, and which trials are best at several things at once."""

import math
from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, FiniteFloat, NonNegativeInt, model_validator

from data_shards.shardset import Value
from tuning.space import Point

Objective = Literal["error", "gmacs", "images_per_second"]

WORST_ERROR = 1.0
"""What a trial without numbers is told. Finite: a failure or NaN would teach TPE nothing."""


class Told(Value):
    """How a trial ended. `values` are what was measured, by objective; all finite.

    done         trained to its end
    stopped      ended early, in good order: `values` are of its last rung
    diverged     its numbers were not finite
    infeasible   does not fit the machines or the hours: the plan said so, and nothing was trained
    failed       nothing is known of its values: no sampler hears of it

    violations   by how much a limit is exceeded, by name: above 0 is too much (0.5: half as much again)
    rungs        (samples seen, error) on the way
    """

    number: NonNegativeInt
    point: Point
    state: Literal["done", "stopped", "diverged", "infeasible", "failed"]
    values: dict[Objective, FiniteFloat] = Field(default_factory=dict)
    violations: dict[str, FiniteFloat] = Field(default_factory=dict)
    rungs: tuple[tuple[int, FiniteFloat], ...] = ()
    problem: str = ""

    @model_validator(mode="after")
    def _measured(self) -> Self:
        if self.state in ("done", "stopped") and "error" not in self.values:
            raise ValueError(f"trial {self.number} is {self.state} and has no error")
        return self

    @property
    def constraints(self) -> dict[str, float]:
        """As samplers take them: above 0 is infeasible. Every trial has `finite`, so that a good one counts as such."""
        return {"finite": 1.0 if self.state == "diverged" else 0.0, **self.violations}


def direction(objective: Objective) -> Literal["minimize", "maximize"]:
    """Images per second are better the more they are."""
    return "maximize" if objective == "images_per_second" else "minimize"


def values(trial: Told, objectives: Sequence[Objective], told: Sequence[Told]) -> list[float]:
    """What it is told for each objective: what was measured, or else the worst that any trial has measured."""
    return [
        trial.values[objective]
        if objective in trial.values and trial.state != "diverged"
        else penalty(objective, told)
        for objective in objectives
    ]


def penalty(objective: Objective, told: Sequence[Told]) -> float:
    """The worst that any trial has measured; the worst error is known."""
    if objective == "error":
        return WORST_ERROR
    worst = max if direction(objective) == "minimize" else min
    return worst((trial.values[objective] for trial in told if objective in trial.values), default=0.0)


def front(told: Sequence[Told], objectives: Sequence[Objective]) -> list[Told]:
    """The trials that trained to their end and that no other beats in everything, best error first."""
    done = [
        trial for trial in told if trial.state == "done" and all(name in trial.values for name in objectives)
    ]
    return sorted(
        (trial for trial in done if not any(_beats(other, trial, objectives) for other in done)),
        key=lambda trial: (_cost(trial, objectives[0]), trial.number),
    )


def _beats(one: Told, other: Told, objectives: Sequence[Objective]) -> bool:
    """As good in everything, and better in something; of two that are equal, the earlier."""
    ours, theirs = ([_cost(trial, name) for name in objectives] for trial in (one, other))
    if ours == theirs:
        return one.number < other.number
    return all(a <= b for a, b in zip(ours, theirs, strict=True))


def _cost(trial: Told, objective: Objective) -> float:
    value = trial.values.get(objective, math.inf)
    return -value if direction(objective) == "maximize" else value
