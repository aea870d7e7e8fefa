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

from data_shards.errors import DataError
from data_shards.segments import LONGEST, WHOLE, Lengths
from data_shards.splice import Frame, read_frame

PROGRAM = "jpegtran"
MISSING = f"{PROGRAM} is not on PATH (Debian: libjpeg-turbo-progs)"

SEGMENT = 32
"""Pixels that a segment should be wide. Of 480 photographs of 465 x 421 (benchmark crops), against segments of 64:
7 % fewer pixels are decoded, and the set is 2 % larger."""

NARROWEST = 16
"""No segment is narrower, unless its row is: markers and lengths would cost more than the decoding they save."""

MARKER = re.compile(rb"\xff[\xd0-\xd7\xd9]")


def available() -> bool:
    """Whether this machine can transcode."""
    return shutil.which(PROGRAM) is not None


def with_restarts(jpeg: bytes) -> tuple[bytes, Lengths]:
    """(the JPEG with restart markers, its lengths), or (the same JPEG, WHOLE) where that cannot be done without loss.

    Both are decoded and compared, to the bit. DataError where there is no jpegtran.
    """
    before = read_frame(jpeg)
    if before is None:
        return jpeg, WHOLE
    arguments = [PROGRAM, "-copy", "none", "-optimize", "-restart", f"{interval(before)}B"]
    try:
        done = subprocess.run(arguments, input=jpeg, capture_output=True, check=False)
    except FileNotFoundError:
        raise DataError(f"{MISSING} of this worker: install it, or pack with --no-restart-markers") from None
    if done.returncode:  # a warning is 2: a file that is not quite whole is better left alone
        return jpeg, WHOLE
    lengths = segment_lengths(done.stdout)
    if not len(lengths) or not _same_pixels(jpeg, done.stdout):
        return jpeg, WHOLE
    return done.stdout, lengths


def interval(frame: Frame) -> int:
    """MCUs per segment: of the divisors of a row's MCUs, the one nearest to SEGMENT pixels (as a ratio)."""
    row = -(-frame.width // frame.mcu_width)
    wide = [count for count in range(1, row + 1) if row % count == 0 and count * frame.mcu_width >= NARROWEST]
    return min(wide or [row], key=lambda count: abs(math.log(count * frame.mcu_width / SEGMENT)))


def segment_lengths(jpeg: bytes) -> Lengths:
    """The header's length and each segment's, with its marker; empty where the file is no grid of segments."""
    frame = read_frame(jpeg)
    if frame is None or not frame.interval:
        return WHOLE
    columns, odd = divmod(-(-frame.width // frame.mcu_width), frame.interval)
    segments = columns * -(-frame.height // frame.mcu_height)
    ends = [frame.data_at, *(found.end() for found in MARKER.finditer(jpeg, frame.data_at))]
    lengths = np.diff(ends, prepend=0)
    if odd or len(lengths) != segments + 1 or ends[-1] != len(jpeg) or lengths.max() > LONGEST:
        return WHOLE
    return lengths.astype(np.uint16)


def _same_pixels(before: bytes, after: bytes) -> bool:
    with (
        Image.open(io.BytesIO(before), formats=("JPEG",)) as one,
        Image.open(io.BytesIO(after), formats=("JPEG",)) as other,
    ):
        return one.mode == other.mode and one.tobytes() == other.tobytes()
