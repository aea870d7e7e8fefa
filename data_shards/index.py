"""The index beside each shard: one fixed 18-byte record per sample, so that a sample is one read away.

    index/NAME.idx = RECORD, RECORD, ...   little-endian, in the order of the tar, no header

A tar lays its members on 512-byte blocks, so a u32 block number reaches 2 TiB into a shard.
"""

import numpy as np
import numpy.typing as npt

from data_shards.errors import DataError

TAR_BLOCK = 512
"""The block size of the tar format (POSIX.1-1988 ustar)."""

RECORD = np.dtype(
    [
        ("block", "<u4"),  # byte offset of the image's first byte in the tar, in TAR_BLOCKs
        ("size", "<u4"),  # bytes of the encoded image
        ("crc32", "<u4"),  # zlib.crc32 of those bytes
        ("label", "<u2"),  # position in ShardSet.classes
        ("width", "<u2"),  # pixels, from the image's header; 0 where it has no readable one
        ("height", "<u2"),
    ]
)

Index = npt.NDArray[np.void]


def encode_index(records: Index) -> bytes:
    """The bytes of an index file, from records of dtype RECORD."""
    return np.ascontiguousarray(records, dtype=RECORD).tobytes()


def decode_index(raw: bytes) -> Index:
    """Records of dtype RECORD, read-only, sharing `raw`'s memory. DataError on a partial record."""
    if len(raw) % RECORD.itemsize:
        raise DataError(
            f"an index of {len(raw)} bytes is damaged: it must be a multiple of {RECORD.itemsize} "
            "(one record per sample). Write it again with `raytrain data index`"
        )
    return np.frombuffer(raw, dtype=RECORD)
