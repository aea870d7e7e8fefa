"""Weights become turns: whole numbers, so that shares are exact."""

import math
from collections.abc import Sequence
from fractions import Fraction

from data_shards.errors import DataUsageError

MOST_TURNS = 10_000
"""The longest cycle: weights of four decimals. It takes 0.03 s to lay out."""


def turns_of(weights: Sequence[Fraction]) -> tuple[int, ...]:
    """The turns of each set in a cycle: the weights as the smallest whole numbers of the same shares.

    DataUsageError where a weight is none, or where they take too many decimals.
    """
    for weight in weights:
        if weight <= 0:
            raise DataUsageError(f"a weight of {float(weight):g} draws nothing: weights are above 0")
    unit = math.lcm(*(weight.denominator for weight in weights))
    whole = [int(weight * unit) for weight in weights]
    common = math.gcd(*whole)
    turns = tuple(weight // common for weight in whole)
    if sum(turns) > MOST_TURNS:
        told = ", ".join(f"{float(weight):g}" for weight in weights)
        raise DataUsageError(
            f"the weights {told} repeat after {sum(turns):,} turns; the limit is {MOST_TURNS:,}. Round them"
        )
    return turns
