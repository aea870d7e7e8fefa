"""What to do next, as a function of what is known. States are tried in order: the first that wants something has it.

SPEC (rows.Started) -> PREFLIGHT -> BASELINE -> HEALTH -> CONFIRM -> GAPS -> PROBE -> a proposal, whose acceptance is
the ACT: a new incumbent, and from BASELINE again. docs/methodology.md tells it to users, thresholds and sources
included.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Literal

from data_shards.shardset import Value
from tuning.method import verdict as verdicts
from tuning.method.gaps import Gaps, error, gaps, ranked
from tuning.method.health import findings
from tuning.method.probes import candidates, probe
from tuning.method.rows import Outcome, Proposal
from tuning.method.state import MethodState
from tuning.method.values import Change, Kind, Reading, Trial, Verdict, nothing_beyond
from tuning.method.world import World

State = Literal["PREFLIGHT", "BASELINE", "HEALTH", "CONFIRM", "PROBE", "END"]
KINDS: tuple[Kind, ...] = (
    "capacity_up", "regularize_up", "regularize_down", "half_data", "quarter_data", "lr_up", "lr_down", "longer",
    "clean_labels",
)  # fmt: skip


class RunChecks(Value):
    """Run the preflight."""

    state: State = "PREFLIGHT"


class Train(Value):
    """Train these, some at once."""

    state: State
    trials: tuple[Trial, ...]
    why: str


class Propose(Value):
    """Ask. A proposal that was made and not answered is made again as it was."""

    state: State
    proposal: Proposal


class Look(Value):
    """Look at val, once."""

    state: State = "CONFIRM"
    trial: Trial


class Finish(Value):
    """There is nothing more to do (rows.Finished)."""

    state: State = "END"
    outcome: Outcome
    text: str
    would_change_it: str
    verdict: Verdict | None = None


Step = RunChecks | Train | Propose | Look | Finish


def decide(state: MethodState, world: World) -> Step:
    """The next step. Of the world only `changes` and `cost` are asked."""
    if state.finished is not None:
        return Finish.model_validate(state.finished.model_dump(exclude={"kind"}))
    if state.pending is not None:
        return Propose(state="PROBE", proposal=state.pending)
    if state.closing is not None:
        return _closed(state.closing)
    for stage in (_preflight, _baseline, _health, _confirm):
        step = stage(state, world)
        if step is not None:
            return step
    return _probe(state, world)


def baseline_cost(state: MethodState, world: World) -> float:
    """GPU-hours until anything can be said at all."""
    return sum(world.cost(state.trial(seed)) for seed in range(state.spec.seeds))


def _preflight(state: MethodState, world: World) -> Step | None:  # noqa: ARG001
    if state.checks is None:
        return RunChecks()
    if all(check.green for check in state.checks):
        return None
    verdict = verdicts.red(state.checks, state)
    if verdict.cause in state.waived:
        return None
    return Propose(state="PREFLIGHT", proposal=verdicts.proposal(state, verdict, 0.0))


def _baseline(state: MethodState, world: World) -> Step | None:
    return _trained(state, world, range(state.spec.seeds), "BASELINE", "the incumbent, over seeds")


def _health(state: MethodState, world: World) -> Step | None:
    stops = [finding for finding in findings(state.readings()) if finding.cause is not None]
    stops = [finding for finding in stops if finding.cause not in state.waived]
    if not stops:
        return None
    steadier = next((one for one in world.changes(state.settings) if one.kind == "lr_down"), None)
    if steadier is not None and _pinned(steadier, state):
        steadier = None
    verdict = verdicts.unsound(stops, state, steadier)
    return Propose(state="HEALTH", proposal=verdicts.proposal(state, verdict, world.cost(state.trial(0))))


def _confirm(state: MethodState, world: World) -> Step | None:
    """The target is met where the upper end of the error, mean + 2 standard errors, is below it; then one look at val.

    Seeds that made a change the incumbent are not asked: they were chosen for being low.
    """
    if not state.frozen and not _met(state.readings(), state.spec.target.error):
        return None
    if not state.full:
        return _trained(
            state.model_copy(update={"full": True}),
            world,
            range(state.spec.seeds),
            "CONFIRM",
            "the incumbent at its whole length",
        )
    fresh = _unchosen(state)
    step = _trained(state, world, fresh, "CONFIRM", "the incumbent, with seeds that did not choose it")
    if step is not None:
        return step
    readings = {seed: reading for seed, reading in state.readings().items() if seed in fresh}
    met = _met(readings, state.spec.target.error)
    if not met and not state.frozen:
        return None
    if not state.looks:
        return Look(trial=state.trial(fresh[0]))
    return _ended(state, gaps(readings, state.spec.floor, state.spec.target.error, state.looks), met=met)


def _probe(state: MethodState, world: World) -> Step:
    found = gaps(state.readings(), state.spec.floor, state.spec.target.error, state.looks)
    offered = [one for one in world.changes(state.settings) if state.full or one.kind != "longer"]
    allowed = [one for one in offered if not _pinned(one, state)]
    order = ranked(allowed, found, findings(state.readings()))
    probing = probe(state, candidates(state, order, world), world)
    if probing.missing:
        return Train(state="PROBE", trials=probing.missing, why="one pair more of each change that is open")
    verdict = verdicts.probed(state, probing, found, _untested(state, world, offered))
    if verdict.cause in ("floor", "inconclusive"):
        if not state.full:
            whole = state.model_copy(update={"full": True})
            why = "short rounds find no more: the incumbent at its whole length"
            step = _trained(whole, world, range(state.spec.seeds), "BASELINE", why)
            assert step is not None
            return step
        if probing.unpaid:
            return _broke(state, verdict, probing.wanted)
    winner = probing.winner(state.rejected)
    cost = winner.candidate.cost if winner else 0.0
    return Propose(state="PROBE", proposal=verdicts.proposal(state, verdict, cost))


def _trained(
    state: MethodState, world: World, seeds: Sequence[int], phase: State, why: str
) -> Train | Finish | None:
    """Train the incumbent with those of the seeds that are missing, if the budget holds them."""
    missing = tuple(state.trial(seed) for seed in seeds if state.reading(state.trial(seed)) is None)
    cost = sum(map(world.cost, missing))
    if not missing:
        return None
    if cost > state.left:
        text = (
            f"{why}: {len(missing)} trainings take {cost:.3g} GPU-hours, and {state.left:.3g} of {state.budget:.3g} "
            "are left"
        )
        return Finish(outcome="budget", text=text, would_change_it=_more(state.spent + cost))
    return Train(state=phase, trials=missing, why=why)


def _unchosen(state: MethodState) -> list[int]:
    """The first seeds that the incumbent was not chosen by."""
    fresh: list[int] = []
    seed = 0
    while len(fresh) < state.spec.seeds:
        if state.unchosen(seed):
            fresh.append(seed)
        seed += 1
    return fresh


def _met(readings: Mapping[int, Reading], target: float) -> bool:
    errors = [error(reading) for reading in readings.values()]
    counted = [reading.minival.standard_error for reading in readings.values() if reading.minival]
    if len(counted) < len(errors):
        return False
    seeds = stdev(errors) / math.sqrt(len(errors))
    return fmean(errors) + 2 * math.hypot(seeds, fmean(counted)) <= target


def _pinned(change: Change, state: MethodState) -> bool:
    return any(path in state.pinned for path in change.settings)


def _untested(state: MethodState, world: World, offered: Sequence[Change]) -> list[str]:
    kinds = {one.kind for one in world.changes(state.settings)}
    texts = [nothing_beyond(kind) for kind in KINDS if kind not in kinds]
    texts += [f"{one.name}: {_pins(one, state)} pinned" for one in offered if _pinned(one, state)]
    if not state.full and "longer" in kinds:
        texts.append("longer: rounds are shortened")
    return texts + [f"{name}: rejected ({reason})" for name, reason in state.rejected.items()]


def _pins(change: Change, state: MethodState) -> str:
    return ", ".join(path for path in change.settings if path in state.pinned)


def _closed(verdict: Verdict) -> Finish:
    return Finish(
        outcome=verdict.cause,
        text="the verdict was accepted, and it changes nothing in the recipe",
        would_change_it=verdict.would_change_it,
        verdict=verdict,
    )


def _broke(state: MethodState, verdict: Verdict, cost: float) -> Finish:
    return Finish(
        outcome="budget",
        text=f"{state.left:.3g} of {state.budget:.3g} GPU-hours are left, too few for the next pair of probes",
        would_change_it=_more(state.spent + cost),
        verdict=verdict,
    )


def _more(budget: float) -> str:
    return (
        f"the same command with --budget {math.ceil(100 * budget) / 100:g} or more, which goes on where it is"
    )


def _ended(state: MethodState, found: Gaps, *, met: bool) -> Finish:
    """After the look at val."""
    rate, target = state.looks[-1].rate, state.spec.target
    bound = target.error - 2 * found.standard_error
    text = (
        f"held-out error {found.minival:.2%} (standard error {100 * found.standard_error:.2f} points, "
        f"{found.n} seeds), target {target.error:.2%}; val, look {len(state.looks)}: "
        f"{rate.share:.2%} of {rate.of:,}"
    )
    if not met:
        return Finish(
            outcome="inconclusive",
            text=f"{text}. Frozen before the target was met",
            would_change_it="a study that is not frozen, in another folder",
        )
    if rate.share - 2 * rate.standard_error > target.error:
        return Finish(
            outcome="mismatch",
            text=f"{text}. val misses what the held-out images meet",
            would_change_it="held-out images that are like those of val, or that were not decided on for so long",
        )
    return Finish(
        outcome="met",
        text=text,
        would_change_it=f"other seeds or held-out images with a mean error of more than {bound:.2%}",
    )
