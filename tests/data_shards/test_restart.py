"""Restart markers: no pixel changes in packing, and a crop out of segments is the crop of the whole picture."""

import io
import shutil
import subprocess

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_shards import restart, splice
from data_shards.decode import decode
from data_shards.errors import DataError
from data_shards.segments import Segments, encode_segments
from data_shards.splice import Box, read_frame

needs_jpegtran = pytest.mark.skipif(
    shutil.which("jpegtran") is None, reason="jpegtran (Debian: libjpeg-turbo-progs) is not on PATH"
)

MODES = ["4:4:4", "4:2:2", "4:2:0", "4:4:0", "grey", "cmyk", "rgb"]


def jpegtran(raw, *arguments):
    return subprocess.run(["jpegtran", *arguments], input=raw, capture_output=True, check=True).stdout


def picture(width, height):
    """Strong edges in all colours, a few pixels apart: what chroma interpolation smears."""
    cells = np.random.default_rng(width * 1000 + height).integers(
        0, 256, (height // 4 + 1, width // 4 + 1, 3)
    )
    return Image.fromarray(cells.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)


def encoded(mode, width, height, **options):
    file = io.BytesIO()
    if mode == "4:4:0":  # Pillow writes none: a 4:2:2 picture on its side is one
        return jpegtran(encoded("4:2:2", height, width, **options), "-transpose")
    if mode == "grey":
        picture(width, height).convert("L").save(file, "JPEG", quality=93, **options)
    elif mode == "cmyk":
        picture(width, height).convert("CMYK").save(file, "JPEG", quality=93, **options)
    elif mode == "rgb":
        picture(width, height).save(file, "JPEG", quality=93, keep_rgb=True, **options)
    else:
        picture(width, height).save(file, "JPEG", quality=93, subsampling=mode, **options)
    return file.getvalue()


def packed(raw):
    return restart.with_restarts(raw)


def cut(jpeg, lengths, box):
    """The crop's pixels, out of its segments alone."""
    part, (top, left, height, width) = splice.splice(jpeg, lengths, box)
    return decode(bytes(part))[:, top : top + height, left : left + width]


@st.composite
def boxes(draw, width, height):
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    return Box(top, left, draw(st.integers(1, height - top)), draw(st.integers(1, width - left)))


@needs_jpegtran
@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(MODES), st.integers(1, 200), st.integers(1, 140), st.booleans())
def test_a_crop_of_segments_is_the_crop_of_the_whole_bit_by_bit(data, mode, width, height, progressive):
    raw = encoded(mode, width, height, progressive=progressive)
    jpeg, lengths = packed(raw)
    whole = decode(raw)
    assert torch.equal(decode(jpeg), whole)
    assert lengths.sum() == len(jpeg)
    for _ in range(4):
        box = data.draw(boxes(width, height))
        top, left, h, w = box
        assert torch.equal(cut(jpeg, lengths, box), whole[:, top : top + h, left : left + w]), (mode, box)


@needs_jpegtran
@pytest.mark.parametrize(("width", "narrow"), [(135, False), (100, True)])
def test_the_margin_is_needed_and_enough(monkeypatch, width, narrow):
    """Every crop of two columns: without the margin, colours are missing at segment edges and in a last narrow one."""
    raw = encoded("4:2:0", width, 40)
    jpeg, lengths = packed(raw)
    whole = decode(raw)

    def wrong():
        crops = {left: cut(jpeg, lengths, Box(0, left, 40, 2)) for left in range(width - 1)}
        return [left for left, crop in crops.items() if not torch.equal(crop, whole[:, :, left : left + 2])]

    assert wrong() == []
    monkeypatch.setattr(splice, "MARGIN", 0)
    assert len(wrong()) > 3
    monkeypatch.undo()
    monkeypatch.setattr(splice, "NARROW", 0)
    assert bool(wrong()) == narrow


@needs_jpegtran
def test_a_small_crop_takes_few_bytes():
    jpeg, lengths = packed(encoded("4:2:0", 500, 375))
    assert len(lengths) == 1 + 16 * 24  # 500 px are 32 MCUs of 16: 16 segments of 2, in 24 rows
    part, place = splice.splice(jpeg, lengths, Box(100, 100, 100, 100))
    assert len(part) < len(jpeg) / 6
    assert read_frame(bytes(part))[:2] == (128, 112)  # from 96 to 224 and from 96 to 208
    assert place == (4, 4, 100, 100)


@needs_jpegtran
def test_progressive_becomes_baseline_and_metadata_goes():
    exif = Image.Exif()
    exif[0x010E] = "a picture of nothing" * 50
    raw = encoded("4:2:0", 90, 70, progressive=True, exif=exif)
    jpeg, _ = packed(raw)
    assert b"\xff\xc2" in raw
    assert b"\xff\xc2" not in jpeg
    assert b"a picture of nothing" not in jpeg


@pytest.mark.parametrize(
    ("width", "mcu", "expected"),
    [
        (500, 16, 2),
        (500, 8, 3),
        (375, 16, 2),
        (333, 16, 3),
        (376, 8, 47),
        (491, 16, 1),
        (10, 16, 1),
        (9, 8, 2),
        (8, 8, 1),
        (64, 8, 4),
    ],
)
def test_segments_divide_the_row_and_are_about_32_pixels_wide(width, mcu, expected):
    frame = splice.Frame(width, 100, mcu, mcu, mcu // 8, mcu // 8, 0, 0, 0)
    assert restart.interval(frame) == expected


@needs_jpegtran
def test_what_cannot_be_transcoded_without_loss_passes_unchanged(monkeypatch):
    raw = encoded("4:2:0", 90, 70)
    damaged = raw[:400] + b"\xff\xd9"
    arithmetic = jpegtran(raw, "-arithmetic")
    for case in (damaged, arithmetic, raw[:2] + raw[-2:], b"\xff\xd8" + bytes(50)):
        jpeg, lengths = packed(case)
        assert (jpeg, len(lengths)) == (case, 0)
    monkeypatch.setattr(restart, "LONGEST", 50)
    jpeg, lengths = packed(raw)
    assert (jpeg, len(lengths)) == (raw, 0)


@needs_jpegtran
def test_a_transcoder_that_changes_a_pixel_is_not_trusted(monkeypatch, tmp_path):
    other, raw = encoded("4:2:0", 90, 70, qtables=[[1] * 64] * 2), encoded("4:2:0", 90, 70)
    (tmp_path / "jpegtran").write_text(
        f'#!/bin/sh\nexec {shutil.which("jpegtran")} "$@" {tmp_path}/other.jpg\n'
    )
    (tmp_path / "jpegtran").chmod(0o755)
    (tmp_path / "other.jpg").write_bytes(other)
    monkeypatch.setenv("PATH", str(tmp_path))
    jpeg, lengths = packed(raw)
    assert (jpeg, len(lengths)) == (raw, 0)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert not restart.available()
    with pytest.raises(
        DataError, match=r"not on PATH .* of this worker: install it, or pack with --no-restart"
    ):
        packed(raw)


def test_a_file_without_restart_markers_has_no_segments():
    file = io.BytesIO()
    picture(50, 50).save(file, "JPEG")
    assert len(restart.segment_lengths(file.getvalue())) == 0
    assert len(restart.segment_lengths(b"")) == 0


TABLES = st.lists(st.lists(st.integers(0, 0xFFFF), max_size=9), max_size=6)


@given(TABLES)
def test_lengths_come_back_as_they_were_written(table):
    raw = encode_segments([np.array(row, np.uint16) for row in table])
    segments = Segments(raw, len(table))
    assert [segments.of(row).tolist() for row in range(len(table))] == table
    assert len(raw) == 4 * (len(table) + 1) + 2 * sum(map(len, table))


@given(TABLES, st.data())
def test_a_table_of_another_size_is_refused(table, data):
    raw = encode_segments([np.array(row, np.uint16) for row in table])
    length = data.draw(st.integers(0, len(raw) - 1))
    with pytest.raises(DataError, match=f"segment lengths of {length} bytes are damaged"):
        Segments(raw[:length], len(table))


@given(st.binary(max_size=60), st.integers(0, 8))
def test_any_table_is_read_or_refused(raw, samples):
    try:
        segments = Segments(raw, samples)
    except DataError:
        return
    assert sum(len(segments.of(row)) for row in range(samples)) * 2 + 4 * (samples + 1) == len(raw)


SCAN = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"


@given(st.binary(max_size=20), st.integers(0, 30))
def test_any_header_is_a_frame_or_none(body, length):
    frame = read_frame(b"\xff\xd8\xff\xc0" + bytes([0, length]) + body + SCAN)
    assert frame is None or (frame.mcu_width % 8 == 0 < frame.mcu_width)
