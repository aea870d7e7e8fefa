"""A space where the upper third of the learning rates diverges, and the best one lies just below."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

from numpy.random import Generator, Philox

from tuning.dimension import Range
from tuning.search.engine import run_sweep
from tuning.search.rows import Strategy, Study
from tuning.search.values import RungJob, RungResult
from tuning.space import Param, Space

TRIALS, BATCH = 64, 4
EDGE = 2 / 3  # of the logarithmic range of learning rates
LOWEST = 0.1
WAYS: dict[str, tuple[Strategy, Literal["diverged", "failed"]]] = {
    "Sobol": ("sobol", "diverged"),
    "TPE": ("tpe", "diverged"),
    "TPE that is told of failures": ("tpe", "failed"),
}


class EdgeExecutor:
    """Executor: the error is a bowl over three numbers, up to the edge; what lies beyond ends as `ending`."""

    def __init__(self, seed: int, ending: Literal["diverged", "failed"]) -> None:
        self.centre = [EDGE - 0.03, *Generator(Philox(key=[seed, 4])).uniform(0.2, 0.8, 2)]
        self.ending = ending

    def run(self, jobs: Sequence[RungJob], done: Callable[[RungJob, RungResult], None]) -> None:
        """All at once."""
        for job in jobs:
            place = [float(str(job.changes[name])) for name in ("lr", "x", "y")]
            if place[0] > EDGE:
                done(
                    job,
                    RungResult(state=self.ending, samples=1, error=None, seconds=1.0, problem="not finite"),
                )
                continue
            error = LOWEST + sum((a - b) ** 2 for a, b in zip(place, self.centre, strict=True)) / 3
            done(job, RungResult(state="done", samples=1, error=error, seconds=1.0))


def diverging(_: str, way: str, seed: int, out: Path) -> dict[str, Any]:
    """Which share of the trials diverged, and by how much the best found is above the lowest."""
    strategy, ending = WAYS[way]
    params = tuple(
        Param(name=name, paths=(name,), role="scientific", dimension=Range(low=0.0, high=1.0))
        for name in ("lr", "x", "y")
    )
    study = Study(
        base={}, space=Space(name="edge", params=params, own={"lr": 0.3, "x": 0.5, "y": 0.5}), strategy=strategy,
        seed=seed, batch=BATCH, objectives=("error",), rungs=(1,),
    )  # fmt: skip
    out.mkdir()
    state = run_sweep(
        study, out=out, trials=TRIALS, executor=nullcontext(EdgeExecutor(seed, ending)), fits=lambda _: ("", {}),
        copy=None, say=lambda _: None,
    )  # fmt: skip
    errors = [trial.ended[-1].result.error for trial in state.trials]
    found = min(error for error in errors if error is not None)
    return {"diverged": errors.count(None) / len(errors), "regret": found - LOWEST}
