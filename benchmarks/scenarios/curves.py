"""Made-up families of learning curves over two hyper-parameters, whose best point is known.

monotone     who is better is better all along
crossing     the larger x, the later it falls, as under a high learning rate that is annealed
overfitting  the smaller y, the more it rises again, as under too little regularization
"""

import math
from collections.abc import Callable, Sequence

from numpy.random import Generator, Philox

from tuning.dimension import Range
from tuning.search.values import RungJob, RungResult
from tuning.space import Param, Space

FAMILIES = ("monotone", "crossing", "overfitting")
LENGTH = 1024
"""Samples of a whole training."""

LOWEST, STEEP = 0.3, 0.3
FALL, LATE, RISE = 0.4, 0.6, 0.4
SEEDS = 0.003  # deviation of an error over seeds


class Landscape:
    """Errors over (x, y) in the unit square: a bowl, wherever `seed` put it, turned and longer than wide."""

    def __init__(self, family: str, seed: int) -> None:
        self.family, self.seed = family, seed
        draw = Generator(Philox(key=[seed, 1]))
        self.centre, self.angle = draw.uniform(0.15, 0.85, 2), float(draw.uniform(0, math.pi))

    def end(self, x: float, y: float) -> float:
        """The error after the whole training; `LOWEST` at best."""
        dx, dy = x - float(self.centre[0]), y - float(self.centre[1])
        along = dx * math.cos(self.angle) + dy * math.sin(self.angle)
        across = dy * math.cos(self.angle) - dx * math.sin(self.angle)
        return min(0.8, LOWEST + STEEP * (along * along + 9 * across * across))

    def error(self, x: float, y: float, share: float) -> float:
        """The error at a share of the training, up to the luck of the seed."""
        error = self.end(x, y) + FALL * (math.exp(-4 * share) - math.exp(-4))
        match self.family:
            case "crossing":
                return error + LATE * x * (1 - share)
            case "overfitting":
                return error - RISE * (1 - y) * (1 - share**2)
        return error


def space() -> Space:
    """Two numbers from 0 to 1; the recipe's own are in the middle."""
    params = tuple(
        Param(name=name, paths=(name,), role="scientific", dimension=Range(low=0.0, high=1.0))
        for name in "xy"
    )
    return Space(name="unit square", params=params, own={"x": 0.5, "y": 0.5})


class CurveExecutor:
    """Executor on a landscape: a rung is looked up, with the luck of its trial."""

    def __init__(self, landscape: Landscape) -> None:
        self.landscape = landscape

    def run(self, jobs: Sequence[RungJob], done: Callable[[RungJob, RungResult], None]) -> None:
        """All at once."""
        for job in jobs:
            luck = float(Generator(Philox(key=[self.landscape.seed, 1000 + job.trial])).normal(0, SEEDS))
            x, y = float(job.changes["x"]), float(job.changes["y"])
            error = self.landscape.error(x, y, job.samples / LENGTH) + luck
            seconds = float(job.samples - job.begun)
            done(job, RungResult(state="done", samples=job.samples, error=error, seconds=seconds))
