"""Decoding: real files of every kind that ImageNet has, bombs refused by their header, dirt as one typed error."""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_shards.decode import UndecodableError, decode, image_size
from data_shards.shard_writer import as_jpeg

WIDTH, HEIGHT = 37, 23


def picture(mode="RGB"):
    """A smooth picture, so that JPEG keeps it nearly as it is."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    rgb = np.stack([x * 6, y * 10, (x + y) * 4], axis=-1).astype(np.uint8)
    return Image.fromarray(rgb).convert(mode)


def encoded(image, kind="JPEG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(width, height, depth=8, colour=2, rows=b""):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


KINDS = {
    "baseline": encoded(picture(), quality=95, subsampling=0),
    "progressive": encoded(picture(), quality=95, subsampling=0, progressive=True),
    "restarts": encoded(picture(), quality=95, subsampling=0, restart_marker_blocks=1),
    "with exif, comment and icc": encoded(
        picture(),
        quality=95,
        subsampling=0,
        comment=b"\xff\xc0",
        icc_profile=b"x" * 70_000,
        exif=Image.Exif(),
    ),
    "png": encoded(picture(), "PNG"),
    "png with alpha": encoded(picture("RGBA"), "PNG"),
    "png of 16 bits": png_of(
        WIDTH,
        HEIGHT,
        depth=16,
        rows=b"".join(
            b"\0" + row.astype(">u2").tobytes() for row in np.asarray(picture()).astype(np.uint16) * 257
        ),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_gives_the_picture(kind):
    pixels = decode(KINDS[kind])
    assert image_size(KINDS[kind]) == (WIDTH, HEIGHT)
    assert pixels.dtype.itemsize == 1
    assert np.abs(pixels.permute(1, 2, 0).numpy() - np.asarray(picture(), np.int16)).mean() < 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_grey_becomes_three_equal_channels(kind):
    pixels = decode(encoded(picture("L"), kind))
    assert pixels.shape == (3, HEIGHT, WIDTH)
    assert (pixels[0] == pixels[1]).all()
    assert (pixels[0] == pixels[2]).all()


def test_grey_of_16_bits_keeps_the_upper_8():
    grey = np.asarray(picture("L"))
    rows = b"".join(b"\0" + (row.astype(">u2") * 257).astype(">u2").tobytes() for row in grey)
    pixels = decode(png_of(WIDTH, HEIGHT, depth=16, colour=0, rows=rows))
    assert (pixels.numpy() == grey).all()


def test_a_palette_is_looked_up():
    pixels = decode(encoded(picture("P"), "PNG"))
    expected = np.asarray(picture("P").convert("RGB"), np.int16)
    assert np.abs(pixels.permute(1, 2, 0).numpy() - expected).mean() == 0


def test_cmyk_looks_as_in_pillow():
    raw = encoded(picture("CMYK"), quality=95)
    expected = np.asarray(Image.open(io.BytesIO(raw)).convert("RGB"), np.int16)
    assert np.abs(decode(raw).permute(1, 2, 0).numpy() - expected).mean() < 2


def test_rotation_in_exif_is_ignored():
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: rotate by 90 degrees
    assert decode(encoded(picture(), exif=exif)).shape == (3, HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("bomb", "size"),
    [
        (png_of(13_000, 13_000), "13000 x 13000"),
        (png_of(70_000, 1), "70000 x 1"),
        (png_of(0, 5), "0 x 5"),
        (
            KINDS["baseline"].replace(struct.pack(">HH", HEIGHT, WIDTH), b"\xea\x60\xea\x60", 1),
            "60000 x 60000",
        ),
    ],
)
def test_a_bomb_is_refused_by_its_header(bomb, size):
    said = f"{size} is refused: the limit is 50 megapixels and 65535 on a side. Make it smaller in the source"
    with pytest.raises(UndecodableError, match=said):
        decode(bomb)


def test_fifty_megapixels_exactly_is_allowed():
    assert image_size(png_of(10_000, 5_000)) == (10_000, 5_000)


@pytest.mark.parametrize(
    "raw", [b"", b"GIF89a" + b"\0" * 99, b"<html>403</html>", b"\xff\xd8", b"\x89PNG\r\n\x1a\n"]
)
def test_what_is_no_picture_says_so(raw):
    with pytest.raises(UndecodableError, match=r"neither JPEG nor PNG|no frame header"):
        image_size(raw)


@pytest.mark.parametrize("kind", ["baseline", "progressive", "png"])
def test_half_a_file_is_undecodable(kind):
    raw = KINDS[kind]
    with pytest.raises(UndecodableError, match=r"header is right and whose body is not|no frame header"):
        decode(raw[: len(raw) * 3 // 5])


def test_a_png_whose_stream_points_before_its_start_is_undecodable():
    # torchvision 0.29's decode_png dies of a segmentation fault here, and the whole process with it
    rows = bytes(range(40)) * 40
    packer = zlib.compressobj(wbits=-15, zdict=rows[:40])
    body = b"\x78\x9c" + packer.compress(rows) + packer.flush()
    whole = png_of(13, 40, rows=rows)
    damaged = whole[:33] + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")
    assert decode(whole).shape == (3, 40, 13)
    with pytest.raises(UndecodableError):
        decode(damaged)


@settings(max_examples=300)
@given(st.sampled_from(sorted(KINDS)), st.data())
def test_damage_anywhere_is_a_picture_or_one_typed_error(kind, data):
    raw = bytearray(KINDS[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels = decode(bytes(raw[: data.draw(st.integers(1, len(raw)))]))
    except UndecodableError:
        return
    width, height = image_size(bytes(raw))
    assert pixels.shape == (3, height, width)


@settings(max_examples=300)
@given(st.binary(max_size=80), st.sampled_from([b"", b"\xff\xd8", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"]))
def test_any_header_is_a_size_or_one_typed_error(tail, start):
    try:
        width, height = image_size(start + tail)
    except UndecodableError:
        return
    assert 0 < width * height <= 50_000_000


def test_the_size_needs_no_torch():
    code = "import sys, data_shards.decode; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_pillow_trips_over_is_undecodable_not_a_crash() -> None:
    """AssertionError: a transparent colour and no palette; DecompressionBombError: a second, huge frame header."""
    encoded = io.BytesIO()
    Image.radial_gradient("L").convert("P").save(encoded, "PNG", transparency=0)
    raw = encoded.getvalue()
    at = raw.index(b"PLTE") - 4
    bare = raw[:at] + raw[at + 12 + int.from_bytes(raw[at : at + 4], "big") :]
    encoded = io.BytesIO()
    Image.new("RGB", (8, 8)).save(encoded, "JPEG")
    jpeg = encoded.getvalue()
    frame = jpeg.index(b"\xff\xc0")
    header = jpeg[frame : frame + 19]
    bomb = jpeg[:frame] + header + header[:5] + b"\xfd\xe8\xfd\xe8" + header[9:] + jpeg[frame + 19 :]
    for picture in (bare, bomb):
        with pytest.raises(UndecodableError):
            as_jpeg(picture)
        with pytest.raises(UndecodableError):
            decode(picture)
