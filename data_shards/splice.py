"""Cut the part of a JPEG that a crop needs out of its restart segments: a smaller JPEG for any decoder.

Huffman decoding is most of what a JPEG costs, and a training crop uses half of the picture on average. A file whose
restart interval divides its rows is a grid of segments that decode alone, so a rectangle of them under a header
with a smaller size is a valid JPEG. Its pixels are those of the whole picture bit by bit, given a margin: a decoder
interpolates subsampled chroma from its neighbours.
"""

import struct
from typing import NamedTuple

import numpy as np

from data_shards.segments import Lengths

FRAMES = range(0xC0, 0xC3)  # baseline, extended and progressive, all of Huffman codes (T.81 table B.1)
RESTART_INTERVAL, START_OF_SCAN = 0xDD, 0xDA
FIRST_RESTART, END_OF_IMAGE = 0xD0, 0xD9
BLOCK = 8

MARGIN = 1
"""Chroma samples kept around a crop where chroma is subsampled: interpolation looks at one neighbour."""

NARROW = 2
"""libjpeg-turbo repeats chroma instead of interpolating it where there are so few samples in a row (jdsample.c)."""


class Box(NamedTuple):
    """A rectangle of a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int


class Frame(NamedTuple):
    """What a JPEG's header says of its geometry: sizes in pixels, `interval` in MCUs (0: no restart markers)."""

    width: int
    height: int
    mcu_width: int
    mcu_height: int
    subsampled_x: int
    subsampled_y: int
    interval: int
    size_at: int
    data_at: int


def read_frame(jpeg: bytes | memoryview) -> Frame | None:
    """What the header says, None where its markers make no sense or the codes are arithmetic."""
    at, interval, found = 2, 0, None
    while at + 4 <= len(jpeg) and jpeg[at] == 0xFF:
        marker, length = jpeg[at + 1], jpeg[at + 2] << 8 | jpeg[at + 3]
        if marker in FRAMES:
            found = at + 5
        elif marker == RESTART_INTERVAL:
            interval = jpeg[at + 4] << 8 | jpeg[at + 5]
        elif marker == START_OF_SCAN:
            return _frame(jpeg, found, interval, at + 2 + length) if found else None
        at += 2 + length
    return None


def _frame(jpeg: bytes | memoryview, size_at: int, interval: int, data_at: int) -> Frame | None:
    height, width, components = struct.unpack_from(">HHB", jpeg, size_at)
    factors = jpeg[size_at + 6 : size_at + 5 + 3 * components : 3]
    if not all(factor & 15 and factor >> 4 for factor in factors) or not factors:
        return None
    across, down = max(factor >> 4 for factor in factors), max(factor & 15 for factor in factors)
    if components == 1:  # a scan of one component has MCUs of one block, whatever its factors say
        across = down = 1
    return Frame(width, height, BLOCK * across, BLOCK * down, across, down, interval, size_at, data_at)


def splice(jpeg: bytes | memoryview, lengths: Lengths, crop: Box) -> tuple[bytearray, Box]:
    """(a JPEG of the segments that `crop` needs, the place of the crop in its picture).

    `lengths` are those that `restart.py` made of this very file.
    """
    frame = read_frame(jpeg)
    assert frame is not None
    step_x, step_y = frame.mcu_width * frame.interval, frame.mcu_height
    columns = -(-frame.width // step_x)
    left, right = _span(crop.left, crop.width, frame.width, step_x, frame.subsampled_x)
    top, bottom = _span(crop.top, crop.height, frame.height, step_y, frame.subsampled_y)
    ends = lengths.cumsum(dtype=np.int64)
    starts = ends[top * columns + left : bottom * columns : columns]
    stops = ends[top * columns + right : bottom * columns + 1 : columns]
    rows = [jpeg[start:stop] for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)]
    smaller = bytearray().join([jpeg[: frame.data_at], *rows])
    _renumber(smaller, frame.data_at, lengths[1:].reshape(-1, columns)[top:bottom, left:right])
    width = min(right * step_x, frame.width) - left * step_x
    height = min(bottom * step_y, frame.height) - top * step_y
    struct.pack_into(">HH", smaller, frame.size_at, height, width)
    return smaller, Box(crop.top - top * step_y, crop.left - left * step_x, crop.height, crop.width)


def _span(start: int, length: int, whole: int, step: int, subsampled: int) -> tuple[int, int]:
    """The first segment, and the one past the last, that pixels start .. start + length of a side need."""
    margin = MARGIN * subsampled if subsampled > 1 else 0
    first = max(0, start - margin) // step
    if whole - first * step <= NARROW * subsampled:
        first = max(0, first - 1)
    return first, -(-min(whole, start + length + margin) // step)


def _renumber(smaller: bytearray, data_at: int, lengths: Lengths) -> None:
    """Number the markers 0 to 7 anew, as decoders expect, and end the last segment with the end of the image."""
    places = lengths.cumsum(dtype=np.int64) + (data_at - 1)
    data = np.frombuffer(smaller, np.uint8)
    data[places] = FIRST_RESTART + (np.arange(len(places)) & 7)
    data[places[-1]] = END_OF_IMAGE
