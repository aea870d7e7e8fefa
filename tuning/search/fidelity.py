"""The fidelity gate: may a trial be given up early? Only where errors on the way rank trials as errors at the end do.

On recorded ImageNet trainings (mlcommons/algorithmic-efficiency, algorithms/baselines/logs), of 5 configurations each,
the rank correlation at half of the training is 0.2 for ResNet-50 and 0.7 for ViT: halving blindly takes the wrong
ResNet two times in three. So it is measured, on full trainings of the very study.
"""

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator, Philox

from tuning.search.rows import Gate, RungGate, SweepState

MEASURED = 8  # full trainings before the gate is decided
LEAST_CORRELATION = 0.8
LEAST_KEPT = 0.9
BOOTSTRAPS = 1000
ETA = 2  # halving keeps one of so many


def measure(state: SweepState) -> Gate | None:
    """The gate's verdict on each rung but the last; None before enough trials were trained to their end."""
    full = [trial for trial in state.finished if len(trial.ended) == len(state.study.rungs)]
    if not state.last or len(full) < MEASURED:
        return None
    errors = [[row.result.error or 0.0 for row in trial.ended] for trial in full]
    rungs = []
    for rung in range(state.last):
        early, late = [row[rung] for row in errors], [row[-1] for row in errors]
        correlation = spearman(early, late)
        kept = winner_kept(early, late, Generator(Philox(key=[state.study.seed, rung])))
        is_open = correlation >= LEAST_CORRELATION and kept >= LEAST_KEPT
        rungs.append(RungGate(rung=rung, correlation=correlation, kept=kept, open=is_open))
    return Gate(trials=tuple(trial.number for trial in full), rungs=tuple(rungs))


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rank correlation, ties at the mean of their ranks; 0 where one of the two is all the same."""
    a, b = ranks(first), ranks(second)
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale else 0.0


def ranks(values: Sequence[float]) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """1 for the smallest; equal values share the mean of their ranks."""
    column = np.asarray(values, dtype=np.float64)
    below = (column[:, None] > column[None, :]).sum(axis=1)
    equal = (column[:, None] == column[None, :]).sum(axis=1)
    shared: np.ndarray[tuple[int], np.dtype[np.float64]] = below + (equal + 1) / 2
    return shared


def winner_kept(early: Sequence[float], late: Sequence[float], rng: Generator) -> float:
    """How often, of trials drawn with replacement, the best at the end is among the 1 / ETA best on the way."""
    on_the_way, at_the_end = np.asarray(early), np.asarray(late)
    drawn = rng.integers(len(early), size=(BOOTSTRAPS, len(early)))
    winners = np.take_along_axis(drawn, at_the_end[drawn].argmin(axis=1)[:, None], axis=1)
    ahead = (on_the_way[drawn] < on_the_way[winners]).sum(axis=1)
    return float((ahead < len(early) // ETA).mean())


def reason(state: SweepState) -> str:
    """The gate's verdict in words, with the figures that it rests on."""
    gate = state.gate
    if state.last == 0:
        return "no rungs: every trial was trained to its end"
    if gate is None:
        return (
            f"closed: {len(state.finished)} of the {MEASURED} full trainings that it is measured on; every trial was "
            "trained to its end"
        )
    found = [
        f"at {state.study.rungs[rung.rung] / state.study.rungs[-1]:.0%} of the training, errors rank trials as their "
        f"ends do with correlation {rung.correlation:.2f} (needs {LEAST_CORRELATION:.2f}), and the final best is in "
        f"the better half in {rung.kept:.0%} of bootstraps (needs {LEAST_KEPT:.0%}): "
        f"{'open' if rung.open else 'closed'}"
        for rung in gate.rungs
    ]
    says = (
        "the worse half was stopped where it is open"
        if any(r.open for r in gate.rungs)
        else "every trial was trained to its end"
    )
    return f"measured on {len(gate.trials)} full trainings: {'; '.join(found)}; {says}"
