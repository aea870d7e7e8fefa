"""Packing: what other tools read back, the same bytes however it went, and bad input named and survived."""

import io
import json
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_shards.decode import image_size
from data_shards.errors import DataError, DataUsageError
from data_shards.index import decode_index
from data_shards.pack import PackOptions, PackResult, pack, shuffled
from data_shards.shard_writer import as_jpeg
from data_shards.shardset import load_shardset
from data_shards.store import open_store
from data_shards.verify import verify


def run(src: Path, out: str | Path, workers: int = 2, max_bad: float = 0.0, **options) -> PackResult:
    chosen = PackOptions(name="drawn", **{"samples_per_shard": 32, **options})
    return pack(src, str(out), chosen, workers, max_bad, lambda *_: None)


def contents(root: str | Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(Path(root).rglob("*")) if p.is_file()}


def photo(size: tuple[int, int] = (20, 16), mode: str = "RGB", form: str = "JPEG") -> bytes:
    pixels = np.random.Generator(np.random.Philox(7)).integers(0, 255, (size[1], size[0], 3), np.uint8)
    raw = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(raw, form)
    return raw.getvalue()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A flat folder of two classes with six images each."""
    for wnid in ("cat", "dog"):
        (tmp_path / "small" / wnid).mkdir(parents=True)
        for number in range(6):
            (tmp_path / "small" / wnid / f"{number}.jpg").write_bytes(photo())
    return tmp_path / "small"


# what is packed -------------------------------------------------------------------------------------------


def test_the_set_says_what_the_folders_hold(packed: str, folders: Path) -> None:
    found = load_shardset(packed)
    assert found.classes == tuple(sorted(path.name for path in (folders / "train").iterdir()))
    assert [shard.samples for shard in found.splits["train"].shards] == [32, 32, 32, 24]
    assert found.splits["train"].class_counts == (20,) * 6
    assert found.splits["val"].class_counts == (5,) * 6
    assert sorted(contents(packed)) == [
        *(f"index/{split}.idx" for split in ("train-00000", "train-00001", "train-00002", "train-00003")),
        "index/val-00000.idx",
        "quarantine.jsonl",
        *(f"shards/{split}.tar" for split in ("train-00000", "train-00001", "train-00002", "train-00003")),
        "shards/val-00000.tar",
        "shardset.json",
    ]


def test_plain_webdataset_reads_every_original_byte_and_label(packed: str, folders: Path) -> None:
    import webdataset

    found = load_shardset(packed)
    urls = [f"{packed}/shards/{shard.name}.tar" for shard in found.splits["train"].shards]
    read = {}
    for sample in webdataset.WebDataset(urls, shardshuffle=False):
        read[sample["__key__"]] = sample["jpg"]
        assert found.classes[int(sample["cls"])] == sample["__key__"].split("/")[0]
    originals = {
        f"{path.parent.name}/{path.stem}": path.read_bytes() for path in (folders / "train").rglob("*.JPEG")
    }
    assert read == originals


def test_the_index_points_at_the_pictures(packed: str) -> None:
    for shard in load_shardset(packed).splits["train"].shards:
        raw = Path(packed, "shards", f"{shard.name}.tar").read_bytes()
        with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
            pictures = [member for member in tar if member.name.endswith(".jpg")]
        records = decode_index(Path(packed, "index", f"{shard.name}.idx").read_bytes())
        assert [member.offset_data for member in pictures] == (records["block"].astype(int) * 512).tolist()
        assert [member.size for member in pictures] == records["size"].tolist()
        sizes = [image_size(raw[m.offset_data : m.offset_data + m.size]) for m in pictures]
        assert sizes == list(zip(records["width"].tolist(), records["height"].tolist(), strict=True))


def test_classes_are_mixed_over_the_shards(packed: str) -> None:
    for shard in load_shardset(packed).splits["train"].shards:
        labels = decode_index(Path(packed, "index", f"{shard.name}.idx").read_bytes())["label"]
        assert len(set(labels.tolist())) == 6


@given(count=st.integers(0, 500), seed=st.integers(0, 2**32))
def test_the_shuffle_is_a_permutation(count: int, seed: int) -> None:
    assert sorted(shuffled(count, seed, 0)) == list(range(count))


def test_the_shuffle_is_pinned() -> None:
    # a change here makes every packed set another set
    assert shuffled(10, 0, 0) == [0, 2, 9, 1, 8, 5, 4, 3, 6, 7]


# the same bytes, however it went --------------------------------------------------------------------------


def test_one_worker_and_three_make_the_same_bytes(folders: Path, packed: str, tmp_path: Path) -> None:
    run(folders, tmp_path / "one", workers=1)
    run(folders, tmp_path / "three", workers=3)
    assert contents(tmp_path / "one") == contents(tmp_path / "three")
    assert load_shardset(str(tmp_path / "one")).fingerprint == load_shardset(packed).fingerprint


def test_another_seed_is_another_order_of_the_same_samples(make_set: Callable[..., str], packed: str) -> None:
    other = load_shardset(make_set(seed=1))
    assert other.fingerprint != load_shardset(packed).fingerprint
    assert other.splits["train"].class_counts == (20,) * 6


def test_a_complete_set_is_left_alone(folders: Path, packed: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path(packed).rglob("*")}
    result = run(folders, packed)
    assert result.complete_before
    assert {path: path.stat().st_mtime_ns for path in Path(packed).rglob("*")} == before


KILLED = """
import os, signal, sys
from pathlib import Path
from data_shards.pack import PackOptions, pack
ends = []
def on_shard(images, of):
    ends.append(images)
    if len(ends) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
pack(Path(sys.argv[1]), sys.argv[2], PackOptions(name="drawn", samples_per_shard=32), 2, 0.0, on_shard)
"""


def test_kill_9_then_the_same_command_makes_the_same_set(folders: Path, packed: str, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    process = subprocess.run(
        [sys.executable, "-c", KILLED, str(folders), str(out)],
        capture_output=True,  # ends when the last holder of the pipe has ended: the workers, too
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.returncode == -9
    assert not (out / "shardset.json").exists()
    with pytest.raises(DataError, match="no shard set at"):
        load_shardset(str(out))
    result = run(folders, out)
    assert result.resumed >= 54  # two shards had ended
    assert _without_verdict(contents(out)) == _without_verdict(contents(packed))


def _without_verdict(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if name != "verify.json"}


@pytest.fixture
def broken_off(folders: Path, tmp_path: Path) -> Path:
    """A set whose packing ended, for whatever reason, after three of its five shards."""
    ends = []

    def stop(images: int, of: int) -> None:
        ends.append(images)
        if len(ends) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(folders, str(tmp_path / "off"), PackOptions(name="drawn", samples_per_shard=32), 1, 0.0, stop)
    return tmp_path / "off"


@pytest.mark.parametrize(
    "crash", ["nothing more", "no record", "no index", "no tar", "short tar", "short index", "draft"]
)
def test_every_state_that_a_crash_can_leave_is_mended(
    folders: Path, packed: str, broken_off: Path, crash: str
) -> None:
    name = sorted((broken_off / "index").glob("*.json"))[0].stem
    tar, index = broken_off / "shards" / f"{name}.tar", broken_off / "index" / f"{name}.idx"
    if crash in ("no record", "draft"):
        (broken_off / "index" / f"{name}.json").unlink()
    if crash == "draft":
        tar.rename(tar.with_name(f".{tar.name}.x1y2.tmp"))
    if crash.startswith("no ") and crash != "no record":
        (tar if crash == "no tar" else index).unlink()
    if crash.startswith("short"):
        victim = tar if crash == "short tar" else index
        victim.write_bytes(victim.read_bytes()[:-18])
    run(folders, broken_off)
    assert _without_verdict(contents(broken_off)) == _without_verdict(contents(packed))


@pytest.mark.parametrize("wound", ["flip", "cut", "index", "gone"])
def test_packing_a_damaged_set_again_mends_it(folders: Path, packed_copy: Path, wound: str) -> None:
    whole = _without_verdict(contents(packed_copy))
    tar, idx = packed_copy / "shards" / "train-00001.tar", packed_copy / "index" / "train-00001.idx"
    if wound == "gone":
        tar.unlink()
    elif wound == "cut":
        tar.write_bytes(tar.read_bytes()[:-512])
    else:  # the size is right: only `data verify` can know
        victim = tar if wound == "flip" else idx
        raw = bytearray(victim.read_bytes())
        raw[len(raw) // 2] ^= 1
        victim.write_bytes(raw)
        assert verify(str(packed_copy), 1, lambda *_: None).faults
    assert run(folders, packed_copy).mended == 32
    assert _without_verdict(contents(packed_copy)) == whole
    assert run(folders, packed_copy).mended == 0


@pytest.mark.parametrize("held", ["thesis.tex", "plan.json"])
def test_a_folder_with_other_things_in_it_is_not_filled(folders: Path, tmp_path: Path, held: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / held).write_text("my only copy")
    with pytest.raises(DataUsageError, match=rf"holds other files \({held}, .*choose another --out"):
        run(folders, tmp_path / "out")
    assert contents(tmp_path / "out") == {held: b"my only copy"}


def test_an_output_that_is_a_file_is_refused(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("my only copy")
    with pytest.raises(DataUsageError, match=f"^{tmp_path}/out is a file; use a folder for --out"):
        run(folders, tmp_path / "out")


def test_an_output_with_a_foreign_note_is_refused(folders: Path, tmp_path: Path) -> None:
    file = tmp_path / "out" / "packing.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"recipe": 1}')
    with pytest.raises(DataUsageError, match=r"packing\.json is no note of a packing.*choose another --out"):
        run(folders, tmp_path / "out")
    assert file.read_text() == '{"recipe": 1}'


@pytest.mark.parametrize("max_bad", [float("nan"), -0.1, 1.5])
def test_max_bad_is_a_fraction(folders: Path, tmp_path: Path, max_bad: float) -> None:
    with pytest.raises(DataUsageError, match=rf"--max-bad {max_bad}: .* from 0 to 1"):
        run(folders, tmp_path / "out", max_bad=max_bad)


def test_a_crash_between_manifest_and_tidying_up(folders: Path, packed_copy: Path) -> None:
    (packed_copy / "packing.json").write_text("{}")
    (packed_copy / "index" / "train-00000.json").write_text("{}")
    assert run(folders, packed_copy).complete_before
    assert not list(packed_copy.rglob("packing.json"))
    assert not list(packed_copy.rglob("*-00000.json"))


def test_full_disk_then_the_same_command(folders: Path, packed: str, small_disk: Path) -> None:
    with pytest.raises(DataError, match=r"the disk is full: .* needs [\d,]+ bytes and [\d,]+ are free"):
        run(folders, small_disk / "set")
    assert not (small_disk / "set" / "shardset.json").exists()
    assert not list(small_disk.rglob("*.tmp"))
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    assert run(folders, small_disk / "set").resumed > 0
    assert _without_verdict(contents(small_disk / "set")) == _without_verdict(contents(packed))


def test_to_s3_and_back(folders: Path, packed: str, s3_url: str) -> None:
    result = run(folders, s3_url)
    assert result.shardset.fingerprint == load_shardset(packed).fingerprint
    assert load_shardset(s3_url) == result.shardset
    assert run(folders, s3_url).complete_before
    assert not [
        key for key in open_store(s3_url).list("") if key.endswith("00.json") or key == "packing.json"
    ]
    assert verify(s3_url, 2, lambda *_: None).faults == ()


# what is refused ------------------------------------------------------------------------------------------


def test_a_source_that_is_neither_a_folder_nor_an_archive(tmp_path: Path) -> None:
    with pytest.raises(DataUsageError, match=r"there is no .*nowhere"):
        run(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "file.tar").write_bytes(b"x")
    with pytest.raises(DataError, match=r"file\.tar is no plain tar archive"):
        run(tmp_path / "file.tar", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_source_without_classes(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.jpg").write_bytes(photo())
    with pytest.raises(DataUsageError, match=r"the source has 0 classes.*SRC/<class>/<image>"):
        run(tmp_path / "src", tmp_path / "out")


def test_an_empty_class(small: Path, tmp_path: Path) -> None:
    (small / "emu").mkdir()
    (small / "emu" / "readme.txt").write_text("no pictures yet")
    with pytest.raises(DataError, match=r"small/emu has no image \(.jpg, .jpeg or .png\)"):
        run(small, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_val_without_train_and_val_with_more_classes(small: Path, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    small.rename(tmp_path / "src" / "val")
    with pytest.raises(DataUsageError, match="src/train is missing"):
        run(tmp_path / "src", tmp_path / "out")
    shutil.copytree(tmp_path / "src" / "val" / "cat", tmp_path / "src" / "train" / "cat")
    with pytest.raises(DataError, match=r"1 classes that train has not, dog"):
        run(tmp_path / "src", tmp_path / "out")


def test_an_output_that_holds_another_set(folders: Path, small: Path, packed_copy: Path) -> None:
    before = contents(packed_copy)
    with pytest.raises(DataUsageError, match="another set: the source has other files"):
        run(small, packed_copy)
    with pytest.raises(DataUsageError, match="samples_per_shard 32 there, 7 asked for"):
        run(folders, packed_copy, samples_per_shard=7)
    assert contents(packed_copy) == before


def test_an_output_that_holds_the_beginning_of_another_set(folders: Path, broken_off: Path) -> None:
    with pytest.raises(DataUsageError, match="seed 0 there, 5 asked for"):
        run(folders, broken_off, seed=5)


def test_an_output_that_holds_somebodys_shards(small: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "shards").mkdir(parents=True)
    (tmp_path / "out" / "shards" / "mine.tar").write_bytes(b"dear")
    with pytest.raises(DataUsageError, match="choose another --out"):
        run(small, tmp_path / "out")
    assert contents(tmp_path / "out") == {"shards/mine.tar": b"dear"}


def test_an_output_inside_the_source(small: Path) -> None:
    with pytest.raises(DataUsageError, match="lies inside the source"):
        run(small, small / "packed")


# dirt -----------------------------------------------------------------------------------------------------

DIRT = {
    "empty.jpg": b"",
    "text.jpg": b"<html>404</html>",
    "cut.jpg": photo((200, 150))[:4000],
    "header_only.JPEG": photo()[:200],
    "gif.png": photo(mode="P", form="GIF"),
    "cut.png": photo((64, 64), form="PNG")[:-300],
}


def test_bad_files_are_quarantined_and_counted(small: Path, tmp_path: Path) -> None:
    for name, raw in DIRT.items():
        (small / "cat" / name).write_bytes(raw)
    result = run(small, tmp_path / "out", max_bad=0.4, val_fraction=0)
    assert result.quarantined == len(DIRT)
    assert result.shardset.splits["train"].class_counts == (6, 6)
    lines = [json.loads(line) for line in (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()]
    assert {line["file"] for line in lines} == {f"cat/{name}" for name in DIRT}
    assert {(line["split"], line["wnid"]) for line in lines} == {("train", "cat")}
    assert all(line["reason"] for line in lines)
    assert verify(str(tmp_path / "out"), 1, lambda *_: None).faults == ()


def test_one_bad_file_passes_and_two_do_not(small: Path, tmp_path: Path) -> None:
    (small / "cat" / "bad.jpg").write_bytes(b"")
    assert run(small, tmp_path / "one", max_bad=0.001).quarantined == 1
    (small / "dog" / "bad.jpg").write_bytes(b"no")
    with pytest.raises(
        DataError, match=r"2 images of split 'train' .*limit is 1 of 13\. .*--max-bad than 0\.001"
    ):
        run(small, tmp_path / "two", max_bad=0.001)
    assert not (tmp_path / "two" / "shardset.json").exists()
    assert len((tmp_path / "two" / "quarantine.jsonl").read_text().splitlines()) == 2
    assert run(small, tmp_path / "two", max_bad=0.2).resumed > 0


def test_a_class_has_a_limit_of_its_own(small: Path, tmp_path: Path) -> None:
    """4 of 700 are in the budget of 0.6 %, and no class of 6 may lose so many: its cap is 3."""
    for number in range(688):
        (small / "dog" / f"more{number}.jpg").write_bytes(photo())
    for number in range(4):
        (small / "cat" / f"{number}.jpg").write_bytes(b"")
    options = {"max_bad": 0.006, "val_fraction": 0, "samples_per_shard": 1000}
    with pytest.raises(
        DataError, match=r"4 images of class cat .* the limit is 3 of its 6\. cat/\d\.jpg is one"
    ):
        run(small, tmp_path / "out", **options)
    assert not (tmp_path / "out" / "shardset.json").exists()
    (small / "cat" / "3.jpg").write_bytes(photo())
    assert run(small, tmp_path / "mended", **options).quarantined == 3


def test_a_class_of_nothing_but_dirt(small: Path, tmp_path: Path) -> None:
    (small / "emu").mkdir()
    (small / "emu" / "bad.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="no file of class emu is a picture"):
        run(small, tmp_path / "out")
    assert not (tmp_path / "out" / "shardset.json").exists()


def test_a_huge_picture_is_not_decoded() -> None:
    huge = bytearray(photo(form="PNG"))
    huge[16:24] = struct.pack(">II", 30_000, 30_000)
    huge[29:33] = struct.pack(">I", zlib.crc32(huge[12:29]))
    with pytest.raises(DataError, match="30000 x 30000 is refused: the limit is 50 megapixels"):
        as_jpeg(bytes(huge))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_plain_jpegs_pass_unchanged(mode: str) -> None:
    raw = photo(mode=mode)
    assert as_jpeg(raw) == (raw, 20, 16)


@pytest.mark.parametrize(
    ("mode", "form"), [("CMYK", "JPEG"), ("RGB", "PNG"), ("RGBA", "PNG"), ("P", "PNG"), ("L", "PNG")]
)
def test_the_rest_becomes_rgb_jpeg_of_the_same_colours(mode: str, form: str) -> None:
    raw = io.BytesIO()
    Image.new("RGB", (20, 16), (200, 100, 50)).convert(mode).save(raw, form)
    jpeg, width, height = as_jpeg(raw.getvalue())
    with Image.open(io.BytesIO(jpeg)) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (width, height))
        expected = (124, 124, 124) if mode == "L" else (200, 100, 50)
        assert np.abs(np.asarray(image, int).mean((0, 1)) - expected).max() < 4


def test_16_bit_png_is_scaled_not_clipped() -> None:
    raw = io.BytesIO()
    Image.fromarray(np.full((16, 20), 0x4000, np.uint16)).save(raw, "PNG")
    with Image.open(io.BytesIO(as_jpeg(raw.getvalue())[0])) as image:
        assert abs(np.asarray(image, int).mean() - 0x40) < 2
