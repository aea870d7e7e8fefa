"""Ranges of slots as arrays: what they cover together, what twice, what not at all."""

import numpy as np
import numpy.typing as npt

Intervals = npt.NDArray[np.int64]
"""[n, 2]: (first, one past the last)"""


def sweep(ranges: Intervals) -> tuple[Intervals, Intervals]:
    """(the union, the overlaps) of ranges in any order."""
    ranges = ranges[np.argsort(ranges[:, 0], kind="stable")]
    reach = np.maximum.accumulate(ranges[:, 1]) if len(ranges) else ranges[:, 1]
    begins = ranges[1:, 0] > reach[:-1]  # touching ranges are one
    edges = np.flatnonzero(begins)
    firsts = ranges[np.concatenate([[0], edges + 1]), 0] if len(ranges) else ranges[:, 0]
    lasts = np.concatenate([reach[edges], reach[-1:]])
    overlaps = np.stack([ranges[1:, 0], np.minimum(ranges[1:, 1], reach[:-1])], 1)
    return np.stack([firsts, lasts], 1), overlaps[overlaps[:, 0] < overlaps[:, 1]]


def gaps(covered: Intervals, end: int) -> Intervals:
    """The slots below `end` that no interval has."""
    edges = np.stack([np.append(0, covered[:, 1]), np.append(covered[:, 0], end)], 1)
    found: Intervals = edges[edges[:, 0] < edges[:, 1]]
    return found


def within(ranges: Intervals, first: int, end: int) -> int:
    """How many slots of the ranges lie in first .. end - 1."""
    return int((ranges.clip(first, end) @ np.array([-1, 1])).sum())
