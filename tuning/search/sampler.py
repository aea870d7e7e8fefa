"""What to try next: a pure function of the study's seed, the trial's number, and what was told in trial order.

Trials are asked for in batches of a fixed size. A batch knows what all earlier batches told and nothing of its own, so
the same study has the same trials whatever runs at a time and whichever ends first.

sobol    low-discrepancy points for exploring (Sobol 1967, scrambled by the seed); scientific values come equally often
tpe      the first STARTUP trials are Sobol's, then TPE (Bergstra et al. 2011), multivariate and grouped, which learns
random   independent draws: what the others are held against
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from tuning.dimension import Scalar
from tuning.search.told import Objective, Told
from tuning.space import Param, Point, Space

Strategy = Literal["sobol", "tpe", "random"]

STARTUP = 8
"""Trials before TPE's model. Optuna's own default of 10 are random."""


def propose_batch(
    space: Space,
    *,
    strategy: Strategy,
    study_seed: int,
    first: int,
    size: int,
    told: Sequence[Told],
    objectives: Sequence[Objective] = ("error",),
) -> list[Point]:
    """The points of trials `first` to `first + size - 1`, given what the trials before `first` told, in any order."""
    points: list[Point] = []
    for number in range(first, first + size):
        points.append(
            propose(
                space,
                strategy=strategy,
                study_seed=study_seed,
                number=number,
                told=[trial for trial in told if trial.number < first],
                pending=points,
                objectives=objectives,
            )
        )
    return points


def propose(
    space: Space,
    *,
    strategy: Strategy,
    study_seed: int,
    number: int,
    told: Sequence[Told],
    pending: Sequence[Point] = (),
    objectives: Sequence[Objective] = ("error",),
) -> Point:
    """The point of one trial. Trial 0 has the recipe's own values, in the space or not.

    `pending` are its batch's earlier points: TPE takes them for bad ones and keeps away (a constant liar).
    """
    if number == 0:
        return space.own_point
    if strategy == "random":
        return _drawn(space, list(_generator(study_seed, number).random(len(space.params))))
    if strategy == "sobol" or number < STARTUP:
        return _sobol(space, study_seed, number - 1)
    from tuning.search.tpe import tpe_point

    seed = int(_generator(study_seed, number).integers(2**32))
    return tpe_point(space, seed, sorted(told, key=lambda trial: trial.number), pending, objectives)


def _sobol(space: Space, study_seed: int, index: int) -> Point:
    """Sobol's point of that index; discrete scientific values by turns instead, in an order drawn anew each round."""
    from torch.quasirandom import SobolEngine

    engine = SobolEngine(len(space.params), scramble=True, seed=study_seed)  # type: ignore[no-untyped-call]
    shares = [float(share) for share in engine.fast_forward(index).draw(1)[0]]  # type: ignore[no-untyped-call]
    for place, param in enumerate(space.params):
        values = param.dimension.values
        if param.role == "scientific" and values is not None:
            turn, position = divmod(index, len(values))
            order = np.random.Generator(np.random.Philox(key=[study_seed, place], counter=[0, 0, 0, turn]))
            shares[place] = (int(order.permutation(len(values))[position]) + 0.5) / len(values)
    return _drawn(space, shares)


def _drawn(space: Space, shares: Sequence[float]) -> Point:
    """The point whose values lie at these shares of the way; parameters that do not exist there are left away."""
    point: Point = {}
    for param, share in zip(space.params, shares, strict=True):
        if space.active(param, point):
            point[param.name] = _value(param, share)
    return point


def _value(param: Param, share: float) -> Scalar:
    values = param.dimension.values
    if values is not None:
        return values[min(int(share * len(values)), len(values) - 1)]
    return param.dimension.at(share)  # type: ignore[union-attr]


def _generator(study_seed: int, number: int) -> np.random.Generator:
    """What is random in a trial: a function of the study's seed and its number, so a study that goes on is the same."""
    return np.random.Generator(np.random.Philox(key=[study_seed, number]))
