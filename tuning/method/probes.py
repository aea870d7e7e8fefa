"""Probes decide: the same seeds with one change and without it, and what that does to the held-out error.

All changes get one pair; those that cannot help by enough are left, the others get more, up to `MOST`. Whatever is
decided at n pairs is decided from the first n alone, so that a study that was killed goes on as it would have.
"""

import math
from collections.abc import Container, Mapping, Sequence
from statistics import fmean, variance

import numpy as np

from data_shards.shardset import Value
from tuning.method.curve import Curve, fit_curve
from tuning.method.gaps import error
from tuning.method.state import MethodState
from tuning.method.student import THREE_SIGMA, quantile
from tuning.method.values import Cause, Change, Effect, Trial
from tuning.method.world import World

MOST = 8  # pairs
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
MORE_DATA = Change(name="twice the data", kind="more_data", data=2.0)


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
    """A candidate's effect by now. `excluded`: it cannot help by enough. `open`: more pairs might tell."""

    candidate: Candidate
    effect: Effect
    freedom: int
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


class Probing(Value):
    """What the probes say. `missing`: trials to run before they say more; `unpaid`: names that money does not reach."""

    found: tuple[Found, ...] = ()
    missing: tuple[Trial, ...] = ()
    unpaid: tuple[str, ...] = ()
    untested: tuple[str, ...] = ()
    curve: Curve | None = None

    def winner(self, rejected: Mapping[str, str]) -> Found | None:
        """The best effect per GPU-hour of those that count."""
        return best_of([found for found in self.found if found.candidate.name not in rejected])


def best_of(found: Sequence[Found]) -> Found | None:
    """The best effect per GPU-hour of those that count, the first of equals."""
    counting = [one for one in found if one.counts]
    return max(counting, key=lambda one: -one.effect.mean / one.candidate.cost, default=None)


def candidates(state: MethodState, changes: Sequence[Change], world: World) -> tuple[Candidate, ...]:
    """What may be proposed, in the changes' order; twice the data where half and quarter can be trained."""
    fractions = tuple(change for change in changes if change.kind in ("half_data", "quarter_data"))
    made = []
    for change in changes:
        cost = world.cost(state.trial(0, change))
        if change not in fractions:
            made.append(Candidate(change=change, arms=(change,), cost=cost))
        elif len(fractions) == 2 and change == fractions[0]:
            half = next(one for one in fractions if one.kind == "half_data")
            now = world.cost(state.trial(0))
            grown = now * now / world.cost(state.trial(0, half))  # as from half to all
            made.append(Candidate(change=MORE_DATA, arms=fractions, cost=grown))
    return tuple(made)


def probe(state: MethodState, wanted: Sequence[Candidate], world: World) -> Probing:
    """All that the trials so far say of the candidates, and which trials are to come next."""
    levels = {one.name: 0 for one in wanted}
    active, unpaid, failed = list(wanted), [], dict[str, str]()
    found: list[Found] = []
    for level in range(1, MOST + 1):
        missing, paid = _affordable(state, active, level, world)
        unpaid += [one.name for one in active if one.name not in paid]
        active = [one for one in active if one.name in paid]
        if missing:
            return Probing(found=tuple(found), missing=missing, unpaid=tuple(unpaid))
        failed |= _failed(state, active, level)
        active = [one for one in active if one.name not in failed]
        levels |= {one.name: level for one in active}
        measured = [one for one in wanted if levels[one.name] and one.name not in failed]
        found = _measure(state, measured, levels, level)
        active = _next(found, {*unpaid}, state)
        if not active:
            break
    untested = [f"{name}: its training failed ({problem})" for name, problem in failed.items()]
    untested += [f"{name}: the budget does not reach it" for name in unpaid if not levels[name]]
    return Probing(
        found=tuple(found),
        unpaid=tuple(unpaid),
        untested=tuple(untested),
        curve=_curve(state, wanted, levels),
    )


def _affordable(
    state: MethodState, active: Sequence[Candidate], level: int, world: World
) -> tuple[tuple[Trial, ...], set[str]]:
    """Trials that are missing for this many pairs, as far as the budget goes, and the candidates it reaches."""
    left, paid = state.left, set[str]()
    missing: list[Trial] = []
    for one in active:
        trials = [
            trial
            for seed in range(level)
            for trial in (state.trial(seed), *(state.trial(seed, arm) for arm in one.arms))
            if state.reading(trial) is None and trial not in missing
        ]
        cost = sum(map(world.cost, trials))
        if cost <= left:
            left -= cost
            paid.add(one.name)
            missing += trials
    return tuple(missing), paid


def _failed(state: MethodState, active: Sequence[Candidate], level: int) -> dict[str, str]:
    problems = {}
    for one in active:
        for trial in (state.trial(seed, arm) for seed in range(level) for arm in one.arms):
            reading = state.reading(trial)
            if reading is not None and reading.state == "failed":
                problems[one.name] = reading.problem
    return problems


def _next(found: Sequence[Found], unpaid: Container[str], state: MethodState) -> list[Candidate]:
    """Those for which another pair may change what is proposed.

    All are asked: what was excluded while the others' pairs were alike may be open again now that they are not.
    """
    best = best_of([one for one in found if one.candidate.name not in state.rejected])
    beaten = -best.effect.mean / best.candidate.cost if best else 0.0
    return [
        one.candidate
        for one in found
        if one.candidate.name not in unpaid and one.open and one.best() > beaten and _may_settle(one, state)
    ]


def _may_settle(one: Found, state: MethodState) -> bool:
    """Whether it would count or be excluded with `MOST` pairs, if its mean stayed."""
    effect = one.effect
    if effect.n < state.spec.seeds:
        return True
    most = effect.standard_error * math.sqrt(effect.n / MOST)
    freedom = one.freedom + MOST - effect.n
    counts = effect.mean < -max(quantile(THREE_SIGMA, freedom) * most, state.spec.least)
    return counts or effect.mean - quantile(UNLIKELY, freedom) * most > -state.spec.least


def _measure(
    state: MethodState, wanted: Sequence[Candidate], levels: Mapping[str, int], level: int
) -> list[Found]:
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
    readings = (state.reading(state.trial(seed, change)) for seed in range(n))
    return [error(reading) for reading in readings if reading is not None]


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
    standard_error = math.hypot(standard_error, _counting(state, mean))
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
        counts=effect.counts and n >= spec.seeds,
        excluded=mean - reach > -spec.least,
    )


def _counting(state: MethodState, difference: float) -> float:
    """The luck of the held-out images, which all seeds share: at least so many of them changed their answer.

    McNemar's variance of a difference for the fewest changes that make it.
    """
    counted = (reading.minival.of for reading in state.readings().values() if reading.minival)
    share = min(abs(difference), 1.0)
    return math.sqrt(share * (1 - share) / min(counted, default=1))


def _hours(state: MethodState, change: Change, n: int) -> float:
    readings = (state.reading(state.trial(seed, change)) for seed in range(n))
    return sum(reading.gpu_hours for reading in readings if reading is not None)


def _fit(state: MethodState, one: Candidate, n: int, noise: Noise) -> Curve:
    base = state.readings()
    points = {arm.data: _errors(state, arm, n) for arm in one.arms}
    return fit_curve(
        {**points, 1.0: _errors(state, None, max(n, state.spec.seeds))},
        images=next(iter(base.values())).train_samples,
        target=state.spec.target.error,
        lowest=state.spec.floor.low,
        deviation=math.sqrt(noise.variance / 2),
        rng=np.random.default_rng(0),
    )


def _curve(state: MethodState, wanted: Sequence[Candidate], levels: Mapping[str, int]) -> Curve | None:
    for one in wanted:
        if len(one.arms) > 1 and levels[one.name]:
            return _fit(state, one, levels[one.name], _noise(state, wanted, levels, max(levels.values())))
    return None
