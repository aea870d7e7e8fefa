"""A parameter's spots: where each trial lies along it, how the trial ended, and its error there."""

import math
from collections.abc import Sequence
from typing import Literal

from data_shards.shardset import Value
from tuning.dimension import Choice, Dimension, Range, Scalar
from tuning.search.rows import SweepState
from tuning.search.sampler import STARTUP
from tuning.search.state import told
from tuning.search.told import Told
from tuning.space import Param

GROUPS = 3
"""A range is looked at in thirds."""

Drawn = Literal["evenly", "chosen", "own"]
Ended = Literal["done", "stopped", "lost"]


class Spot(Value):
    """A trial at a value of one parameter.

    drawn    evenly over the space, chosen where TPE expected it to be good (so it says little of elsewhere), or the
             recipe's own
    ended    trained to its end, stopped on the way (the error is of then), or without an error: it diverged, failed or
             did not fit
    rank     0 for the best of all trials with an error: the furthest trained first, among those by error
    """

    trial: int
    value: Scalar
    error: float | None
    rank: int
    drawn: Drawn
    ended: Ended


def spots(state: SweepState, param: Param) -> tuple[Spot, ...]:
    """The trials that have the parameter, in trial order. Of several with the same point the last: they are one."""
    rows = list({(_drawn(state, row.number), repr(row.point)): row for row in told(state)}.values())
    order = sorted({_standing(row) for row in rows})
    return tuple(
        Spot(
            trial=row.number,
            value=row.point[param.name],
            error=row.values.get("error"),
            rank=order.index(_standing(row)),
            drawn=_drawn(state, row.number),
            ended=row.state if row.state in ("done", "stopped") else "lost",
        )
        for row in rows
        if param.name in row.point
    )


def _standing(row: Told) -> tuple[int, float]:
    """Halving says that who was stopped is worse than who went on."""
    return (-row.rungs[-1][0], row.values["error"]) if row.rungs and "error" in row.values else (0, 1.0)


def _drawn(state: SweepState, number: int) -> Drawn:
    if number == 0:
        return "own"
    return "chosen" if state.study.strategy == "tpe" and number >= STARTUP else "evenly"


def share_of_way(dimension: Dimension, value: Scalar) -> float | None:
    """How far a value is from the first end (0) to the last (1), by a log range's logarithm.

    None where nothing lies between ends: a choice has no order, and two rungs are both ends.
    """
    if isinstance(dimension, Choice):
        return None
    if not isinstance(dimension, Range):
        values = dimension.values
        assert values is not None
        if len(values) < 3:
            return None
        return values.index(value) / (len(values) - 1)
    low, high, at = dimension.low, dimension.high, float(value)
    if dimension.log:
        low, high, at = math.log(low), math.log(high), math.log(at)
    return min(max((at - low) / (high - low), 0.0), 1.0)


def group(dimension: Dimension, value: Scalar) -> int:
    """The group of values that it is compared in: itself, or its third of a range."""
    if not isinstance(dimension, Range):
        values = dimension.values
        assert values is not None
        return values.index(value)
    share = share_of_way(dimension, value)
    assert share is not None
    return min(int(share * GROUPS), GROUPS - 1)


def grouped(dimension: Dimension, found: Sequence[Spot]) -> list[list[float]]:
    """The ranks of evenly drawn trials by group, those of empty groups left out."""
    groups: dict[int, list[float]] = {}
    for spot in found:
        if spot.drawn == "evenly" and spot.ended != "lost":
            groups.setdefault(group(dimension, spot.value), []).append(float(spot.rank))
    return [groups[place] for place in sorted(groups)]


def best_of(found: Sequence[Spot]) -> Spot | None:
    """The spot of the least error at the end of a training; the first of equals."""
    return min(
        (spot for spot in found if spot.ended == "done"),
        key=lambda spot: (spot.rank, spot.trial),
        default=None,
    )
