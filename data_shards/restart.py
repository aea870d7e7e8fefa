"""Packing's side of restart-marker JPEGs: transcode without loss, so that a crop can be decoded alone.

`jpegtran` (libjpeg-turbo) writes the same DCT coefficients with a restart marker behind every segment of a row, as
baseline: progressive files decode twice as fast afterwards. EXIF goes, which this room ignores anyway; what decides
colours (the Adobe marker) is written anew. What it cannot do passes through, and is decoded whole.
"""

import io
import math
import re
import shutil
import subprocess

import numpy as np
from PIL import Image

from data_shards.segments import LONGEST, Lengths
from data_shards.splice import Frame, read_frame

PROGRAM = "jpegtran"

SEGMENT = 64
"""Pixels that a segment should be wide: narrower ones cost bytes, of wider ones more is decoded for nothing."""

MARKER = re.compile(rb"\xff[\xd0-\xd7\xd9]")

NONE = np.zeros(0, np.uint16)


def available() -> bool:
    """Whether this machine can transcode."""
    return shutil.which(PROGRAM) is not None


def with_restarts(jpeg: bytes, pixels: Image.Image) -> tuple[bytes, Lengths]:
    """(the JPEG with restart markers, its lengths), or (the same JPEG, none) where that cannot be done without loss.

    `pixels` is the decoded `jpeg`: the result is decoded too, and compared with it.
    """
    before = read_frame(jpeg)
    if before is None:
        return jpeg, NONE
    arguments = [PROGRAM, "-copy", "none", "-optimize", "-restart", f"{interval(before)}B"]
    done = subprocess.run(arguments, input=jpeg, capture_output=True, check=False)
    if done.returncode:  # a warning is 2: a file that is not quite whole is better left alone
        return jpeg, NONE
    lengths = segment_lengths(done.stdout)
    if not len(lengths) or not _same_pixels(done.stdout, pixels):
        return jpeg, NONE
    return done.stdout, lengths


def interval(frame: Frame) -> int:
    """MCUs per segment: of the divisors of a row's MCUs, the one nearest to SEGMENT pixels (as a ratio)."""
    row = -(-frame.width // frame.mcu_width)
    divisors = [count for count in range(1, row + 1) if row % count == 0]
    return min(divisors, key=lambda count: abs(math.log(count * frame.mcu_width / SEGMENT)))


def segment_lengths(jpeg: bytes) -> Lengths:
    """The header's length and each segment's, with its marker; empty where the file is no grid of segments."""
    frame = read_frame(jpeg)
    if frame is None or not frame.interval:
        return NONE
    columns, odd = divmod(-(-frame.width // frame.mcu_width), frame.interval)
    segments = columns * -(-frame.height // frame.mcu_height)
    ends = [frame.data_at, *(found.end() for found in MARKER.finditer(jpeg, frame.data_at))]
    lengths = np.diff(ends, prepend=0)
    if odd or len(lengths) != segments + 1 or ends[-1] != len(jpeg) or lengths.max() > LONGEST:
        return NONE
    return lengths.astype(np.uint16)


def _same_pixels(jpeg: bytes, pixels: Image.Image) -> bool:
    with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
        return image.mode == pixels.mode and image.tobytes() == pixels.tobytes()
