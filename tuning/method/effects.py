"""Effects: what the pairs of a probe say, with the noise of seeds and of images, and when that is enough."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, variance

import numpy as np

from data_shards.shardset import Value
from tuning.method.curve import Curve, fit_curve
from tuning.method.gaps import error
from tuning.method.state import MethodState
from tuning.method.student import THREE_SIGMA, quantile
from tuning.method.values import Cause, Change, Effect, Reading

PRIOR = 6  # what the noise of all probes weighs beside a probe's own, in degrees of freedom (Smyth 2004, moderated t)
UNLIKELY = 0.9  # an effect is excluded when its interval's end, one-sided, does not reach the least effect

CAUSES: dict[str, Cause] = {
    "capacity_up": "capacity",
    "regularize_up": "regularization",
    "regularize_down": "less_regularization",
    "more_data": "data",
    "lr_up": "lr_up",
    "lr_down": "lr_down",
    "longer": "longer",
    "clean_labels": "labels",
}


class Candidate(Value):
    """What may be proposed: `change`, known by training `arms`. `cost` is GPU-hours of one training with it."""

    change: Change
    arms: tuple[Change, ...]
    cost: float

    @property
    def cause(self) -> Cause:
        """What is wrong if it helps."""
        return CAUSES[self.change.kind]

    @property
    def name(self) -> str:
        """What it is rejected by."""
        return self.cause if self.change.kind in ("more_data", "clean_labels") else self.change.name


class Noise(Value):
    """Variance of a pair's difference, pooled, with its degrees of freedom."""

    variance: float
    freedom: int

    def with_own(self, differences: Sequence[float]) -> "Noise":
        """A probe's own variance, drawn towards that of all: two or three pairs alone say little of it."""
        prior, own = min(self.freedom, PRIOR), len(differences) - 1
        total = prior * self.variance + (own * variance(differences) if own else 0.0)
        return Noise(variance=total / (prior + own), freedom=prior + own)


class Found(Value):
    """A candidate's effect by now. `excluded`: it cannot help by enough. `open`: more pairs might tell.

    `counting` is the part of its standard error that no pair lessens: they share the held-out images.
    """

    candidate: Candidate
    effect: Effect
    freedom: int
    counting: float
    counts: bool
    excluded: bool

    @property
    def open(self) -> bool:
        """Whether it is neither known to help nor known not to."""
        return not (self.counts or self.excluded)

    def best(self) -> float:
        """By how much it may lower the error per GPU-hour, at best."""
        reach = quantile(UNLIKELY, self.freedom) * self.effect.standard_error
        return (reach - self.effect.mean) / self.candidate.cost


def measure(
    state: MethodState, wanted: Sequence[Candidate], levels: Mapping[str, int], level: int
) -> list[Found]:
    """The effect of each candidate by its first `levels[name]` pairs; the baseline's seeds by the first `level`."""
    noise = _noise(state, wanted, levels, level)
    return [_found(state, one, levels[one.name], noise) for one in wanted]


def _noise(state: MethodState, wanted: Sequence[Candidate], levels: Mapping[str, int], level: int) -> Noise:
    """From the baseline's seeds (a difference of two has twice the variance), and from the pairs of all probes."""
    base = _errors(state, None, max(level, state.spec.seeds))
    total, freedom = 2 * variance(base) * (len(base) - 1), len(base) - 1
    for one in wanted:
        n = levels[one.name]
        if n > 1 and len(one.arms) == 1:
            total += variance(_differences(state, one.arms[0], n)) * (n - 1)
            freedom += n - 1
    return Noise(variance=total / freedom, freedom=freedom)


def _errors(state: MethodState, change: Change | None, n: int) -> list[float]:
    return [error(reading) for reading in _readings(state, change, n)]


def _readings(state: MethodState, change: Change | None, n: int) -> list[Reading]:
    readings = (state.reading(state.trial(seed, change)) for seed in range(n))
    return [reading for reading in readings if reading is not None]


def _differences(state: MethodState, change: Change, n: int) -> list[float]:
    pairs = zip(_errors(state, change, n), _errors(state, None, n), strict=True)
    return [changed - same for changed, same in pairs]


def _found(state: MethodState, one: Candidate, n: int, noise: Noise) -> Found:
    spec = state.spec
    if len(one.arms) == 1:
        differences = _differences(state, one.arms[0], n)
        own = noise.with_own(differences)
        mean, standard_error, freedom = fmean(differences), math.sqrt(own.variance / n), own.freedom
        note = "learning rate and weight decay not tuned again" if one.cause == "capacity" else ""
    else:
        fit = _fit(state, one, n, noise)
        mean, standard_error, freedom = -fit.gain, fit.gain_error, noise.freedom
        note = "predicted from the curve over 1/4, 1/2 and all images, not trained; their price is not in the cost"
    counting = _counting(state, mean)
    standard_error = math.hypot(standard_error, counting)
    effect = Effect(
        change=one.change,
        n=n,
        mean=mean,
        standard_error=standard_error,
        least=max(quantile(THREE_SIGMA, freedom) * standard_error, spec.least),
        gpu_hours=sum(_hours(state, arm, n) for arm in one.arms),
        note=note,
    )
    reach = quantile(UNLIKELY, freedom) * standard_error
    return Found(
        candidate=one,
        effect=effect,
        freedom=freedom,
        counting=counting,
        counts=effect.counts and n >= spec.seeds and (len(one.arms) == 1 or _lost(state, one, n, noise)),
        excluded=mean - reach > -spec.least,
    )


def _lost(state: MethodState, one: Candidate, n: int, noise: Noise) -> bool:
    """Whether fewer images are worse beyond doubt: each doubling brings less than the last, so the next one cannot
    bring anything else. What the curve makes of noise alone is a gain too.
    """
    differences = _differences(state, max(one.arms, key=lambda arm: arm.data), n)
    own = noise.with_own(differences)
    return fmean(differences) > quantile(THREE_SIGMA, own.freedom) * math.sqrt(own.variance / n)


def _counting(state: MethodState, difference: float) -> float:
    """The luck of the held-out images, which all seeds share: at least so many of them changed their answer.

    McNemar's variance of a difference for the fewest changes that make it.
    """
    counted = (reading.minival.of for reading in state.readings().values() if reading.minival)
    share = min(abs(difference), 1.0)
    return math.sqrt(share * (1 - share) / min(counted, default=1))


def _hours(state: MethodState, change: Change, n: int) -> float:
    return sum(reading.gpu_hours for reading in _readings(state, change, n))


def _fit(state: MethodState, one: Candidate, n: int, noise: Noise) -> Curve:
    points: dict[float, list[float]] = {1.0: _errors(state, None, max(n, state.spec.seeds))}
    images = next(iter(state.readings().values())).train_samples
    for arm in one.arms:
        for reading in _readings(
            state, arm, n
        ):  # shards are whole, so a share is not quite what was asked for
            points.setdefault(reading.train_samples / images, []).append(error(reading))
    return fit_curve(
        points,
        images=images,
        target=state.spec.target.error,
        lowest=state.spec.floor.low,
        deviation=math.sqrt(noise.variance / 2),
        rng=np.random.default_rng(0),
    )


def curve_of(state: MethodState, wanted: Sequence[Candidate], levels: Mapping[str, int]) -> Curve | None:
    """The fit over shares of the images, where they were trained."""
    for one in wanted:
        if len(one.arms) > 1 and levels[one.name]:
            return _fit(state, one, levels[one.name], _noise(state, wanted, levels, max(levels.values())))
    return None
