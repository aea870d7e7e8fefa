"""The ledger: what was really delivered, in few bytes, so that `audit.py` can hold it against the order.

Every rank has a Witness. It keeps, of the batches that the trainer consumed, the slots, one digest over (slot,
shard, row), and the slots whose image no decoder reads. Where a row is due the ranks' parts become one Row.

The digest is a sum of one 64-bit hash per sample, so it is the same however the work was divided and cut: the sum
over all ranks and rows (`Row.delivered`) is equal for every number of workers and every restart. It finds what went
wrong by accident (the chance to miss is 2**-64); it is no signature.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from pydantic import NonNegativeInt, PositiveInt

from data_shards.order import Ints
from data_shards.shardset import Value

Hashes = npt.NDArray[np.uint64]
Run = tuple[int, int, int, int]
"""(first, length, stride, times): `times` ranges of `length` slots, each `stride` behind the one before."""

Ranges = tuple[NonNegativeInt, PositiveInt, NonNegativeInt, PositiveInt, NonNegativeInt, PositiveInt]
"""A Run, and (period, repeats): the same `repeats` times, each `period` behind the one before."""

LONGEST = 64
"""Runs after which a repetition is looked for. A batch takes 2 or 3 where the ranks do not divide the streams."""

Place = tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt]
"""(slot, shard, row)"""


class Part(Value):
    """What one rank was given since the row before. `quarantined` are slots whose image was replaced by another."""

    slots: tuple[Ranges, ...]
    samples: int
    digest: str
    quarantined: tuple[Place, ...]


class Row(Value):
    """The parts of all ranks, in rank order, up to `step`, after which `samples` slots had been given in all.

    `delivered` is the digest of everything since the run began.
    """

    step: NonNegativeInt
    samples: NonNegativeInt
    ranks: tuple[Part, ...]
    delivered: str


def hashes(slots: Ints, shards: Ints, rows: Ints) -> Hashes:
    """[n]: one hash per sample. Two rounds of SplitMix64's finalizer (Steele, Lea, Flood 2014)."""
    place = shards.astype(np.uint64) << np.uint64(32) | rows.astype(np.uint64)
    return _mixed(_mixed(slots.astype(np.uint64)) + place)


def _mixed(words: Hashes) -> Hashes:
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ words >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ words >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return words ^ words >> np.uint64(31)


def added(digests: Iterable[str]) -> str:
    """The digest of all that several digests stand for."""
    return as_digest(sum(int(digest, 16) for digest in digests))


def as_digest(total: int) -> str:
    """16 hex digits of a sum of hashes."""
    return f"{total % 2**64:016x}"


NOTHING = as_digest(0)


class Witness:
    """Watches the batches of one rank. Ranges that follow each other are one, and what repeats is told once."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._runs: list[Run] = []
        self._first = self._end = 0  # the range that is still growing
        self._samples = self._total = 0
        self._quarantined: list[Place] = []

    def saw(self, slots: Ints, places: Ints, quarantined: Sequence[Place]) -> None:
        """A batch was consumed: slots int64 [b], (shard, row) of each int64 [b, 2]."""
        cuts = np.flatnonzero(np.diff(slots) != 1) + 1
        for first, last in zip(slots[[0, *cuts]].tolist(), slots[[*(cuts - 1), -1]].tolist(), strict=True):
            if first != self._end:
                self._close()
                self._first = first
            self._end = last + 1
        self._samples += len(slots)
        self._total += int(hashes(slots, places[:, 0], places[:, 1]).sum())
        self._quarantined += quarantined

    def _close(self) -> None:
        length = self._end - self._first
        if not length:
            return
        if self._runs:
            first, size, stride, times = self._runs[-1]
            behind = self._first - first
            if size == length and behind > 0 and (times == 1 or behind == stride * times):
                self._runs[-1] = (first, size, stride if times > 1 else behind, times + 1)
                return
        self._runs.append((self._first, length, 0, 1))

    def cut(self) -> Part:
        """All since the last cut."""
        self._close()
        part = Part(
            slots=tuple(_folded(self._runs)),
            samples=self._samples,
            digest=as_digest(self._total),
            quarantined=tuple(self._quarantined),
        )
        self._clear()
        return part


def _folded(runs: list[Run]) -> Iterator[Ranges]:
    """Runs that repeat at a constant distance, told once: as many as one repetition covers, the shortest of them."""
    shapes, gaps = [run[1:] for run in runs], [after[0] - run[0] for run, after in pairwise(runs)]
    at = 0
    while at < len(runs):
        best, repeats = 1, 1
        for size in range(1, min(LONGEST, (len(runs) - at) // 2) + 1):
            found = _repeats(shapes, gaps, at, size)
            if found > 1 and size * found > best * repeats:
                best, repeats = size, found
        period = runs[at + best][0] - runs[at][0] if repeats > 1 else 0
        yield from ((*run, period, repeats) for run in runs[at : at + best])
        at += best * repeats


def _repeats(shapes: list[tuple[int, int, int]], gaps: list[int], at: int, size: int) -> int:
    """How often the `size` runs from `at` come one behind the other, at one distance that is above 0.

    Lists are compared, not arrays: nearly all differ at once, and a mix's slots are thousands of runs per row.
    """
    if shapes[at + size] != shapes[at] or (period := sum(gaps[at : at + size])) <= 0:
        return 1
    count, end = 1, at + size
    while (
        shapes[end : end + size] == shapes[at : at + size]
        and gaps[end : end + size - 1] == gaps[at : at + size - 1]
        and sum(gaps[end - size : end]) == period
    ):
        count, end = count + 1, end + size
    return count


def expand(entries: Sequence[Ranges]) -> tuple[Ints, Ints]:
    """(first slot, one past the last) of every range."""
    starts = [
        (first + period * np.arange(repeats)[:, None] + stride * np.arange(times)).ravel()
        for first, _, stride, times, period, repeats in entries
    ]
    ends = [begin + length for begin, (_, length, *_) in zip(starts, entries, strict=True)]
    nothing = np.zeros(0, np.int64)
    return np.concatenate([nothing, *starts]), np.concatenate([nothing, *ends])
