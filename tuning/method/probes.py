"""Probes decide: the same seeds with one change and without it, and what that does to the held-out error.

All changes get one pair; those that cannot help by enough are left, the others get more, up to `MOST`. Whatever is
decided at n pairs is decided from the first n alone, so that a study that was killed goes on as it would have.
"""

import math
from collections.abc import Container, Mapping, Sequence

from data_shards.shardset import Value
from tuning.method.curve import Curve
from tuning.method.effects import UNLIKELY, Candidate, Found, curve_of, measure
from tuning.method.state import MethodState
from tuning.method.student import THREE_SIGMA, quantile
from tuning.method.values import Change, Trial
from tuning.method.world import World

MOST = 8  # pairs
MORE_DATA = Change(name="twice the data", kind="more_data", data=2.0)


class Probing(Value):
    """What the probes say.

    missing    trials to run before they say more
    unpaid     names that the budget does not reach any more
    wanted     GPU-hours of the next pairs of these
    """

    found: tuple[Found, ...] = ()
    missing: tuple[Trial, ...] = ()
    unpaid: tuple[str, ...] = ()
    wanted: float = 0.0
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
    active, unpaid, failed, short = list(wanted), [], dict[str, str](), 0.0
    found: list[Found] = []
    for level in range(1, max(MOST, state.spec.seeds) + 1):
        missing, paid, beyond = _affordable(state, active, level, world)
        short += beyond
        unpaid += [one.name for one in active if one.name not in paid]
        active = [one for one in active if one.name in paid]
        if missing:
            return Probing(found=tuple(found), missing=missing, unpaid=tuple(unpaid))
        failed |= _failed(state, active, level)
        active = [one for one in active if one.name not in failed]
        levels |= {one.name: level for one in active}
        measured = [one for one in wanted if levels[one.name] and one.name not in failed]
        found = measure(state, measured, levels, level)
        active = _next(found, {*unpaid}, state)
        if not active:
            break
    untested = [f"{name}: its training failed ({problem})" for name, problem in failed.items()]
    untested += [f"{name}: the budget does not reach it" for name in unpaid if not levels[name]]
    return Probing(
        found=tuple(found),
        unpaid=tuple(unpaid),
        wanted=short,
        untested=tuple(untested),
        curve=curve_of(state, wanted, levels),
    )


def _affordable(
    state: MethodState, active: Sequence[Candidate], level: int, world: World
) -> tuple[tuple[Trial, ...], set[str], float]:
    """Trials that are missing for this many pairs, as far as the budget goes, the candidates it reaches, and
    GPU-hours of those that it does not.
    """
    left, paid, beyond = state.left, set[str](), 0.0
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
        else:
            beyond += cost
    return tuple(missing), paid, beyond


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
    """Whether it might count or be excluded with `MOST` pairs, its true mean being anywhere in its interval."""
    effect, left = one.effect, 1 - one.effect.n / MOST
    if effect.n < state.spec.seeds:
        return True
    seeds = effect.standard_error**2 - one.counting**2
    last = math.sqrt(seeds * effect.n / MOST + one.counting**2)
    freedom = one.freedom + MOST - effect.n
    reach = left * quantile(UNLIKELY, one.freedom) * effect.standard_error
    counts = effect.mean - reach < -max(quantile(THREE_SIGMA, freedom) * last, state.spec.least)
    return counts or effect.mean + reach - quantile(UNLIKELY, freedom) * last > -state.spec.least
