"""Strategies of search at equal cost: each goes on asking for trials until so many whole trainings are spent."""

from contextlib import nullcontext
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from scenarios.curves import LENGTH, LOWEST, CurveExecutor, Landscape, space
from tuning.ledger import Ledger
from tuning.search.engine import best, run_sweep
from tuning.search.halving import rungs_of
from tuning.search.rows import ROWS, Gate, RungGate, Strategy, Study, SweepState
from tuning.search.values import Executor

WHOLE = 16
"""Whole trainings that a search may cost."""

BATCH = 4
RUNGS = rungs_of(LENGTH, 1 / 16)


class Searcher(NamedTuple):
    """A sampler, with halving or without; `blind`: whatever the fidelity gate would say."""

    sampler: Strategy
    halving: bool = False
    blind: bool = False


SEARCHERS = {
    "random": Searcher("random"),
    "Sobol": Searcher("sobol"),
    "TPE": Searcher("tpe"),
    "Sobol, halving behind the gate": Searcher("sobol", halving=True),
    "Sobol, halving without the gate": Searcher("sobol", halving=True, blind=True),
    "TPE, halving behind the gate": Searcher("tpe", halving=True),
    "TPE, halving without the gate": Searcher("tpe", halving=True, blind=True),
}


def search(family: str, way: str, seed: int, out: Path) -> dict[str, Any]:
    """What it found: `regret` is the true error of its choice above the lowest there is."""
    landscape, searcher = Landscape(family, seed), SEARCHERS[way]
    study = Study(
        base={"family": family}, space=space(), strategy=searcher.sampler, seed=seed, batch=BATCH,
        objectives=("error",), rungs=RUNGS if searcher.halving else (LENGTH,),
    )  # fmt: skip
    state = spend(study, CurveExecutor(landscape), WHOLE, out, blind=searcher.blind)
    point = chosen(state)
    return {
        "regret": landscape.end(float(point["x"]), float(point["y"])) - LOWEST,
        "trials": len(state.trials),
        "cost": cost(state),
        "open": is_open(state),
    }


def spend(study: Study, executor: Executor, whole: float, out: Path, *, blind: bool) -> SweepState:
    """The sweep once it has cost so many whole trainings, at the first batch that reaches them."""
    out.mkdir()
    if blind:
        open_gate(study, out)
    trials = 0
    while True:
        trials += BATCH
        state = run_sweep(
            study,
            out=out,
            trials=trials,
            executor=nullcontext(executor),
            fits=lambda _: ("", {}),
            copy=None,
            say=lambda _: None,
        )
        if cost(state) >= whole:
            return state


def open_gate(study: Study, out: Path) -> None:
    """Begin a study whose gate is open everywhere, though nothing was measured."""
    opened = tuple(
        RungGate(rung=rung, correlation=1.0, kept=1.0, open=True) for rung in range(len(study.rungs) - 1)
    )
    ledger = Ledger(out, ROWS, copy=None, say=print)
    for row in (study, Gate(trials=(), rungs=opened)):
        ledger.add(row)


def cost(state: SweepState) -> float:
    """In whole trainings."""
    return (
        sum(trial.ended[-1].result.samples for trial in state.trials if trial.ended) / state.study.rungs[-1]
    )


def chosen(state: SweepState) -> dict[str, Any]:
    """The point of the trial that ended with the lowest error."""
    number = best(state)
    assert number is not None
    return dict(state.trials[number].asked.point)


def is_open(state: SweepState) -> bool:
    """Whether the gate let any trial be given up."""
    return state.gate is not None and any(rung.open for rung in state.gate.rungs)


def mean(found: list[dict[str, Any]], what: str) -> float:
    """Over seeds."""
    return fmean(float(one[what]) for one in found)
