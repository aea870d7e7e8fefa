"""Student's t for whole degrees of freedom: few pairs mean wide intervals.

Finite sums (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4); the quantile by halving.
"""

import math
from functools import lru_cache

THREE_SIGMA = 0.99865  # what 3 standard errors are of a normal distribution, one-sided


def cdf(t: float, freedom: int) -> float:
    """The probability of less than t, with `freedom` >= 1 degrees of freedom."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    odd = freedom % 2
    term, total = (cosine, 0.0) if odd else (1.0, 0.0)
    for k in range(1, freedom // 2 + 1):
        total += term
        term *= cosine * cosine * ((2 * k) / (2 * k + 1) if odd else (2 * k - 1) / (2 * k))
    area = (angle + sine * total) * 2 / math.pi if odd else sine * total
    return 0.5 + area / 2


@lru_cache
def quantile(probability: float, freedom: int) -> float:
    """The t that is exceeded with 1 - probability, for a probability of 0.5 to 0.9999."""
    low, high = 0.0, 1e4
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if cdf(middle, freedom) < probability else (low, middle)
    return high
