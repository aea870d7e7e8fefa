"""The error over the number of training images, e = a m^-b + c, and how many images a target needs.

The form is that of Hestness et al. 2017 (arXiv 1712.00409). For a given b the fit is a straight line, so b is looked
for on a grid and a, c follow by least squares, with a >= 0 and c not below the floor. The interval comes from fits of
the same points with the seeds' noise added again.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from data_shards.shardset import Value

EXPONENTS = np.geomspace(0.05, 2.0, 128)  # 0.05 is nearly a straight line in log m
DRAWS = 200
INTERVAL = (5, 95)  # percent

Array = np.ndarray[Any, np.dtype[np.float64]]


class Curve(Value):
    """The fit; `x` is the number of images as a share of those there are, so that the error now is a + c.

    c_interval      of the error with endless images
    gain            by how much twice the images lower the error, and its standard error
    needed          (low, best, high) number of images for the target; None where no number does
    """

    images: int
    a: float
    b: float
    c: float
    c_interval: tuple[float, float]
    gain: float
    gain_error: float
    needed: tuple[float | None, float | None, float | None]

    def error(self, x: float) -> float:
        """The expected error with this share of the images."""
        return float(self.a * x**-self.b + self.c)


def fit_curve(
    points: Mapping[float, Sequence[float]],
    *,
    images: int,
    target: float,
    lowest: float,
    deviation: float,
    rng: np.random.Generator,
) -> Curve:
    """Fit the errors (one per seed) at each share of the images; three shares at least.

    `deviation` is a single training's, over seeds; `lowest` the floor's lower end, `target` an error.
    """
    shares = np.array(sorted(points))
    means = np.array([fmean(points[share]) for share in shares])
    spread = np.array([deviation / math.sqrt(len(points[share])) for share in shares])
    best = _fit(shares, means[None], lowest)
    drawn = _fit(shares, means + spread * rng.standard_normal((DRAWS, len(shares))), lowest)
    low, high = np.percentile(_needed(drawn, target), INTERVAL, method="nearest")
    gains = _gain(drawn)
    return Curve(
        images=images,
        a=float(best[0, 0]),
        b=float(best[0, 1]),
        c=float(best[0, 2]),
        c_interval=(
            float(np.percentile(drawn[:, 2], INTERVAL[0])),
            float(np.percentile(drawn[:, 2], INTERVAL[1])),
        ),
        gain=float(_gain(best)[0]),
        gain_error=float(np.std(gains)),
        needed=(
            _number(low * images),
            _number(_needed(best, target)[0] * images),
            _number(high * images),
        ),
    )


def _fit(shares: Array, errors: Array, lowest: float) -> Array:
    """(a, b, c) for each row of errors."""
    x = shares[None, :] ** -EXPONENTS[:, None]  # exponents, shares
    centred = x - x.mean(axis=1, keepdims=True)
    slope = np.maximum(errors @ centred.T / (centred**2).sum(axis=1), 0.0)  # rows, exponents
    level = errors.mean(axis=1, keepdims=True) - slope * x.mean(axis=1)
    below = level < lowest
    pressed = np.maximum((errors - lowest) @ x.T / (x**2).sum(axis=1), 0.0)  # the slope with c at the floor
    slope, level = np.where(below, pressed, slope), np.where(below, lowest, level)
    left = ((errors[:, None, :] - slope[..., None] * x - level[..., None]) ** 2).sum(axis=2)
    chosen = left.argmin(axis=1)
    rows = np.arange(len(errors))
    return np.stack([slope[rows, chosen], EXPONENTS[chosen], level[rows, chosen]], axis=1)


def _gain(fits: Array) -> Array:
    gains: Array = fits[:, 0] * (1 - 2.0 ** -fits[:, 1])
    return gains


def _needed(fits: Array, target: float) -> Array:
    """Shares of the present images that reach the target; infinite where none does."""
    a, b, c = fits.T
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        shares = np.where(target > c, (a / (target - c)) ** (1 / b), np.inf)
    found: Array = np.nan_to_num(shares, nan=np.inf, posinf=np.inf)
    return found


def _number(images: float) -> float | None:
    return float(images) if images < 1e15 else None
