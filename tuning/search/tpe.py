"""TPE through Optuna: a study in memory is made of what was told, asked once, and thrown away."""

import logging
import warnings
from collections.abc import Sequence

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuning.dimension import Choice, Dimension, Ladder, Offset, Scalar
from tuning.search.told import Objective, Told, direction, values
from tuning.space import Point, Space


def tpe_point(
    space: Space, seed: int, told: Sequence[Told], pending: Sequence[Point], objectives: Sequence[Objective]
) -> Point:
    """The next point, by TPE from `told` in trial order; `pending` points are kept away from."""
    quiet_optuna()
    study = optuna.create_study(
        directions=[direction(objective) for objective in objectives],
        sampler=optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=1, multivariate=True, group=True, constant_liar=True
        ),
    )
    distributions = {param.name: distribution(param.dimension) for param in space.params}
    study.add_trials(
        [frozen(trial, distributions, objectives, told) for trial in told if trial.state != "failed"]
    )
    study.add_trials([running(point, distributions) for point in pending])
    trial = study.ask()
    point: Point = {}
    for param in space.params:
        if space.active(param, point):
            point[param.name] = _suggested(trial, param.name, distributions[param.name])
    return point


def _suggested(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Scalar:
    match distribution:
        case CategoricalDistribution():
            value: Scalar = trial.suggest_categorical(name, distribution.choices)
        case IntDistribution():
            value = trial.suggest_int(name, distribution.low, distribution.high, log=distribution.log)
        case _:
            value = trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)
    return value


def frozen(
    trial: Told,
    distributions: dict[str, BaseDistribution],
    objectives: Sequence[Objective],
    told: Sequence[Told],
) -> FrozenTrial:
    """A told trial in Optuna's words: complete, with its constraints, and a finite value whatever happened."""
    return create_trial(
        state=TrialState.COMPLETE,
        values=values(trial, objectives, told),
        params=trial.point,
        distributions={name: distributions[name] for name in trial.point},
        constraints=trial.constraints,
    )


def running(point: Point, distributions: dict[str, BaseDistribution]) -> FrozenTrial:
    """A trial that was given out."""
    return create_trial(
        state=TrialState.RUNNING,
        params=point,
        distributions={name: distributions[name] for name in point},
    )


def distribution(dimension: Dimension) -> BaseDistribution:
    """A dimension in Optuna's words."""
    match dimension:
        case Choice(values=values) | Ladder(values=values):
            return CategoricalDistribution(values)
        case Offset(low=low, high=high):
            return IntDistribution(low, high)
    if dimension.integer:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def quiet_optuna() -> None:
    """Optuna speaks only when something is wrong; that `group` is experimental is known."""
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
