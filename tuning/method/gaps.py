"""Gaps between errors: they rank what to probe first, and decide nothing.

On 50 recorded ImageNet trainings rules such as "train and held-out differ by 5 points" fire 50 times, whatever the
cause (the algoperf repository's logs; docs/methodology.md).
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

from data_shards.shardset import Value
from tuning.method.floor import Floor
from tuning.method.health import Finding
from tuning.method.rows import Looked
from tuning.method.values import Change, Kind, Reading

BIAS: tuple[Kind, ...] = ("capacity_up", "longer", "lr_up", "lr_down", "regularize_down")
"""What may close the gap between training images and the floor; all else may close that to held-out images."""


class Gaps(Value):
    """Mean errors over the incumbent's seeds, and what lies between them.

    chance        the error of guessing
    seed_noise    standard deviation of the held-out error over seeds
    sampling      standard error of the held-out error for the number of images
    bias          train - floor, from the highest to the lowest floor
    mismatch      val - minival, once val was looked at
    """

    n: int
    chance: float
    train: float
    minival: float
    seed_noise: float
    sampling: float
    bias: tuple[float, float]
    variance: float
    remaining: float
    mismatch: float | None

    @property
    def standard_error(self) -> float:
        """Of minival's error as an estimate of the true one: luck of the seeds and of the images."""
        return math.hypot(self.seed_noise / math.sqrt(self.n), self.sampling)


def error(reading: Reading) -> float:
    """The held-out error; that of guessing for a training that came to none."""
    return reading.minival.share if reading.minival else 1 - 1 / reading.classes


def train_error(reading: Reading) -> float:
    """The error on clean training images; that of guessing for a training that came to none."""
    return reading.train.share if reading.train else 1 - 1 / reading.classes


def gaps(readings: Mapping[int, Reading], floor: Floor, target: float, looks: Sequence[Looked] = ()) -> Gaps:
    """The gaps of the incumbent's trainings; `target` is an error."""
    minivals, trains = [error(r) for r in readings.values()], [train_error(r) for r in readings.values()]
    train, minival = fmean(trains), fmean(minivals)
    counted = [reading.minival.standard_error for reading in readings.values() if reading.minival]
    return Gaps(
        n=len(minivals),
        chance=1 - 1 / next(iter(readings.values())).classes,
        train=train,
        minival=minival,
        seed_noise=stdev(minivals) if len(minivals) > 1 else 0.0,
        sampling=fmean(counted) if counted else 0.0,
        bias=(train - floor.high if floor.known else 0.0, train - floor.low),
        variance=minival - train,
        remaining=minival - target,
        mismatch=looks[-1].rate.share - minival if looks else None,
    )


def ranked(changes: Sequence[Change], found: Gaps, hints: Sequence[Finding]) -> tuple[Change, ...]:
    """The changes, those first that may close the larger gap; a hint goes before all. A stable order."""
    hinted = {finding.hint for finding in hints if finding.hint}

    def place(change: Change) -> tuple[bool, float]:
        gap = found.bias[1] if change.kind in BIAS else found.variance
        return change.kind not in hinted, -gap

    return tuple(sorted(changes, key=place))
