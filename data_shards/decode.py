"""Encoded image in, pixels out: the size from the header first, then the decoders, fastest first.

Only JPEG and PNG are opened, whatever the file is called: ImageNet has a PNG and 22 CMYK JPEGs among its
.JPEG files (tensorflow/models, research/slim/datasets/build_imagenet_data.py).
EXIF rotation is ignored, as in every published ImageNet result. `image_size` needs no torch.
"""

import io
import struct
from typing import TYPE_CHECKING

from PIL import Image

from data_shards.errors import DataError
from data_shards.segments import Lengths
from data_shards.splice import Box, splice

if TYPE_CHECKING:
    import torch

MAX_PIXELS = 50_000_000
"""The largest picture that is decoded: 150 MB of pixels. A 20 kB file can ask for any number."""

MAX_SIDE = 0xFFFF
"""The index stores a side in 16 bits; JPEG knows no longer one either."""

UNREADABLE = (
    *(OSError, EOFError, SyntaxError, ValueError, LookupError, AssertionError, struct.error),
    Image.DecompressionBombError,
)
"""What Pillow raises for damaged pictures: SyntaxError for a bad checksum, AssertionError where a palette lacks."""

JPEG, PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # not DHT, JPG, DAC (T.81 table B.1)
STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # TEM, RST0-7, SOI: markers without a length
SCAN_OR_END = frozenset({0xD9, 0xDA})


class UndecodableError(DataError):
    """The bytes are no picture that we decode: dirt in the source, not damage since."""


def image_size(raw: bytes | bytearray) -> tuple[int, int]:
    """(width, height) from the header alone. UndecodableError if none, or above MAX_PIXELS or MAX_SIDE."""
    if raw.startswith(JPEG):
        width, height = _jpeg_size(raw)
    elif raw.startswith(PNG) and raw[12:16] == b"IHDR" and len(raw) >= 24:
        width, height = struct.unpack_from(">II", raw, 16)
    else:
        raise UndecodableError(f"neither JPEG nor PNG: it starts with {raw[:8].hex(' ') or 'nothing'}")
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise UndecodableError(
            f"a picture of {width} x {height} is refused: the limit is {MAX_PIXELS // 10**6} megapixels "
            f"and {MAX_SIDE} on a side. Make it smaller in the source"
        )
    return width, height


def _jpeg_size(raw: bytes | bytearray) -> tuple[int, int]:
    """Walk the markers to the first frame header."""
    at = 2
    while True:
        at = raw.find(b"\xff", at)
        while raw[at : at + 1] == b"\xff":  # any number of fill bytes before a marker's code
            at += 1
        if at <= 0 or at + 8 > len(raw) or raw[at] in SCAN_OR_END:
            raise UndecodableError("a JPEG that has no frame header")
        marker = raw[at]
        if marker in START_OF_FRAME:
            height, width = struct.unpack_from(">HH", raw, at + 4)
            return width, height
        at += 1
        if marker and marker not in STANDALONE:
            at += struct.unpack_from(">H", raw, at)[0]


def decode(raw: bytes | bytearray) -> "torch.Tensor":
    """uint8 [3, H, W], RGB. UndecodableError if no decoder reads all of it."""
    image_size(raw)
    pixels = _torchvision(raw) if raw.startswith(JPEG) else None
    if pixels is None:
        pixels = _pillow(raw)
    if pixels is not None:
        return pixels
    raise UndecodableError(f"a picture of {len(raw)} bytes whose header is right and whose body is not")


def decode_region(raw: bytes | memoryview, lengths: Lengths, crop: Box) -> "torch.Tensor":
    """uint8 [3, crop.height, crop.width]: `decode(raw)` of the crop alone, from its segments where there are some."""
    pixels = decode_cut(*splice(raw, lengths, crop)) if len(lengths) else None
    if pixels is None:
        top, left, height, width = crop
        pixels = decode(bytearray(raw))[:, top : top + height, left : left + width]
    return pixels


def decode_cut(part: bytearray, inside: Box) -> "torch.Tensor | None":
    """The box `inside` of a spliced JPEG, uint8 [3, height, width]; None where it cannot be decoded."""
    pixels = _torchvision(part)
    top, left, height, width = inside
    return None if pixels is None else pixels[:, top : top + height, left : left + width]


def _torchvision(raw: bytes | bytearray) -> "torch.Tensor | None":
    """A JPEG's pixels, None where it fails. Not for PNG: torchvision 0.29's decode_png crashes on damaged ones."""
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    writable = raw if isinstance(raw, bytearray) else bytearray(raw)  # torch takes no read-only memory
    encoded = torch.frombuffer(writable, dtype=torch.uint8)
    try:
        pixels: torch.Tensor = decode_jpeg(encoded, mode=ImageReadMode.RGB)
    except RuntimeError:
        return None
    return pixels


def _pillow(raw: bytes | bytearray) -> "torch.Tensor | None":
    """A JPEG's or PNG's pixels, None where it fails. Grey of 16 bits keeps its upper 8, as other modes do."""
    import numpy as np
    import torch

    try:
        with Image.open(io.BytesIO(raw), formats=("JPEG", "PNG")) as image:
            if image.mode == "I;16":
                pixels = np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
            else:
                pixels = np.array(image.convert("RGB"))
    except UNREADABLE:
        return None
    return torch.from_numpy(pixels).permute(2, 0, 1)
