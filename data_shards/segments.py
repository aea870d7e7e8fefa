"""The segment lengths beside each shard of restart-marker JPEGs: enough to cut a region out of any of them.

    index/NAME.rst = u32 x (samples + 1), then u16, u16, ...   little-endian, no header

The u32 say where each sample's lengths begin among the u16, and the last one where all end. A sample's lengths
are its header (all bytes before the entropy-coded data), then its segments with the marker that ends each:
together, the whole file. A sample with no lengths has no segments that can be cut, and is decoded whole.
"""

import mmap
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from data_shards.errors import DataError

Lengths = npt.NDArray[np.uint16]

LONGEST = 0xFFFF
"""A longer segment has no place in the table: its picture is stored without segments."""


def encode_segments(lengths: Sequence[Lengths]) -> bytes:
    """The bytes of a .rst file, from each sample's lengths."""
    ends = np.cumsum([0, *(len(sample) for sample in lengths)])
    return ends.astype("<u4").tobytes() + b"".join(sample.astype("<u2").tobytes() for sample in lengths)


WHOLE: Lengths = np.zeros(0, np.uint16)
"""The lengths of a picture that has no segments."""


class Segments:
    """The lengths of a shard's samples, sharing the memory of the file."""

    def __init__(self, raw: bytes | mmap.mmap, samples: int) -> None:
        """`raw` is a whole .rst file. DataError where it cannot be one of so many samples."""
        start = 4 * (samples + 1)
        if len(raw) < start or (len(raw) - start) % 2:
            raise DataError(
                f"segment lengths of {len(raw)} bytes are damaged: not those of {samples} samples"
            )
        self._ends = np.frombuffer(raw, "<u4", samples + 1)
        self._lengths = np.frombuffer(raw, "<u2", offset=start)
        steps = np.diff(self._ends.astype(np.int64))
        if self._ends[0] or (steps < 0).any() or self._ends[-1] != len(self._lengths):
            raise DataError(
                f"segment lengths of {len(raw)} bytes are damaged: the samples' places do not fit"
            )

    def of(self, row: int) -> Lengths:
        """The lengths of a sample; empty where it is decoded whole."""
        return self._lengths[self._ends[row] : self._ends[row + 1]]
