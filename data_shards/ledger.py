"""The ledger: what was really delivered, in few bytes, so that `audit.py` can hold it against the order.

Every rank has a Witness. It keeps, of the batches that the trainer consumed, the slots, one digest over (slot,
shard, row), and the slots whose image no decoder reads. Where a row is due the ranks' parts become one Row.

The digest is a sum of one 64-bit hash per sample, so it is the same however the work was divided and cut: the sum
over all ranks and rows (`Row.delivered`) is equal for every number of workers and every restart. It finds what went
wrong by accident (the chance to miss is 2**-64); it is no signature.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from pydantic import NonNegativeInt, PositiveInt

from data_shards.order import Ints
from data_shards.shardset import Value

Hashes = npt.NDArray[np.uint64]
Ranges = tuple[NonNegativeInt, PositiveInt, NonNegativeInt, PositiveInt]
"""(first, length, stride, times): `times` ranges of `length` slots, each `stride` behind the one before."""

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
    """Watches the batches of one rank. Ranges that follow each other are one, equal steps one entry of four numbers."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._entries: list[Ranges] = []
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
        if self._entries:
            first, size, stride, times = self._entries[-1]
            behind = self._first - first
            if size == length and behind > 0 and (times == 1 or behind == stride * times):
                self._entries[-1] = (first, size, stride if times > 1 else behind, times + 1)
                return
        self._entries.append((self._first, length, 0, 1))

    def cut(self) -> Part:
        """All since the last cut."""
        self._close()
        part = Part(
            slots=tuple(self._entries),
            samples=self._samples,
            digest=as_digest(self._total),
            quarantined=tuple(self._quarantined),
        )
        self._clear()
        return part


def expand(entries: Sequence[Ranges]) -> tuple[Ints, Ints]:
    """(first slot, one past the last) of every range."""
    starts = [first + stride * np.arange(times) for first, _, stride, times in entries]
    ends = [begin + length for begin, (_, length, _, _) in zip(starts, entries, strict=True)]
    nothing = np.zeros(0, np.int64)
    return np.concatenate([nothing, *starts]), np.concatenate([nothing, *ends])
