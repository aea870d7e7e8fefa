"""Sets with restart markers: the same batches as without, through every way of reading, and damage is found."""

import io
import re
import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from data_shards.cli import app
from data_shards.errors import DataError
from data_shards.loader import Batch, eval_batches, train_batches
from data_shards.pack import PackOptions, PackResult, pack
from data_shards.shardset import load_shardset
from data_shards.training import alone
from data_shards.verify import verify
from data_shards.view import View

needs_jpegtran = pytest.mark.skipif(
    shutil.which("jpegtran") is None, reason="jpegtran (Debian: libjpeg-turbo-progs) is not on PATH"
)

VIEW = View(image_size=48, min_area=0.05, auto_augment="rand")
IMAGES = 24


def photo(number: int) -> Image.Image:
    """A picture that no other number has, of an odd size."""
    rng = np.random.default_rng(number)
    cells = rng.integers(0, 256, (40, 50, 3), np.uint8)
    size = (int(rng.integers(90, 330)), int(rng.integers(90, 260)))
    return Image.fromarray(cells).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of pictures of all kinds that a source has: samplings, progressive, grey, CMYK, PNG."""
    root = tmp_path_factory.mktemp("photos") / "photos"
    for number in range(IMAGES):
        folder = root / ("train" if number % 4 else "val") / ("cat" if number // 4 % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        picture = photo(number).convert({5: "L", 6: "CMYK"}.get(number % 8, "RGB"))
        if number % 8 == 7:
            picture.save(folder / f"{number}.png")
        else:
            options = {"quality": 90, "subsampling": number % 3, "progressive": number % 8 == 4}
            picture.save(folder / f"{number}.jpg", **options)
    return root


def packed_to(out: Path, photos: Path, workers: int = 1, *, markers: bool = True) -> PackResult:
    options = PackOptions(name="photos", samples_per_shard=5, restart_markers=markers or None)
    return pack(photos, str(out), options, workers, 0.0, lambda *_: None)


@pytest.fixture(scope="module")
def marked(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures packed with restart markers. Not to be changed."""
    out = tmp_path_factory.mktemp("marked") / "set"
    result = packed_to(out, photos)
    assert result.restarts is not None
    assert result.restarts.left == 0
    return out


@pytest.fixture
def marked_copy(marked: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(marked, tmp_path / "copy"))


def train(url: str, count: int = 6, **more: object) -> list[Batch]:
    batches = train_batches(
        training=alone(url, load_shardset(url), "train"), view=VIEW, seed=5, global_batch=6, micro_batch=3,
        rank=0, world=1, samples_seen=0, **more,
    )  # fmt: skip
    found = list(islice(batches, count))
    batches.close()
    return found


def evaluate(url: str) -> list[Batch]:
    return list(
        eval_batches(
            url=url, shardset=load_shardset(url), split="val", view=VIEW, batch_size=4, rank=0, world=1
        )
    )


def equal(some: list[Batch], others: list[Batch]) -> bool:
    return len(some) == len(others) and all(
        torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)
        for one, other in zip(some, others, strict=True)
    )


@needs_jpegtran
def test_batches_are_those_of_the_plain_set_bit_by_bit(
    marked: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed_to(tmp_path / "plain", photos, markers=False)
    plain = str(tmp_path / "plain")
    expected = train(plain, 60)  # ten epochs: ten crops of each picture
    assert equal(evaluate(str(marked)), evaluate(plain))
    monkeypatch.setattr("data_shards.slots.decode", None)  # from here on nothing is decoded whole
    assert equal(train(str(marked), 60), expected)


@needs_jpegtran
def test_the_same_set_with_two_workers_and_after_a_lost_file(
    marked: Path, photos: Path, tmp_path: Path
) -> None:
    def files(root: Path) -> dict[str, bytes]:
        return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}

    out = tmp_path / "other"

    def stop(images: int, of: int) -> None:
        if images:
            raise KeyboardInterrupt

    options = PackOptions(name="photos", samples_per_shard=5, restart_markers=True)
    with pytest.raises(KeyboardInterrupt):
        pack(photos, str(out), options, 1, 0.0, stop)
    next(iter((out / "index").glob("*.rst"))).write_bytes(b"cut off")
    packed_to(out, photos, workers=2)
    assert files(out) == files(marked)


@needs_jpegtran
def test_plain_webdataset_reads_the_same_pictures(marked: Path, photos: Path) -> None:
    import webdataset

    tars = sorted(map(str, (marked / "shards").glob("*.tar")))
    found = {sample["__key__"]: sample["jpg"] for sample in webdataset.WebDataset(tars, shardshuffle=False)}
    assert len(found) == IMAGES
    originals = [file for file in photos.rglob("*.jpg") if Image.open(file).mode != "CMYK"]
    assert len(originals) == IMAGES - 6
    for file in originals:
        key = f"{file.parent.name}/{file.stem}"
        before, after = Image.open(file), Image.open(io.BytesIO(found[key]))
        assert (before.mode, before.tobytes()) == (after.mode, after.tobytes())


@needs_jpegtran
def test_segments_come_through_the_cache_from_s3(
    marked: Path, photos: Path, s3_url: str, tmp_path: Path
) -> None:
    options = PackOptions(name="photos", samples_per_shard=5, restart_markers=True)
    pack(photos, s3_url, options, 1, 0.0, lambda *_: None)
    assert load_shardset(s3_url).fingerprint == load_shardset(str(marked)).fingerprint
    assert equal(train(s3_url, cache=tmp_path / "cache"), train(str(marked)))


@needs_jpegtran
def test_damage_of_the_lengths_is_found_by_reading_and_by_verify(marked_copy: Path) -> None:
    assert verify(str(marked_copy), 1, lambda *_: None).faults == ()
    victim = marked_copy / "index" / "train-00001.rst"
    raw = bytearray(victim.read_bytes())
    raw[-1] ^= 4
    victim.write_bytes(raw)
    with pytest.raises(
        DataError, match=r"train-00001.rst is damaged: its sha256 is \w+ and the manifest says"
    ):
        train(str(marked_copy))
    (marked_copy / "index" / "val-00000.rst").unlink()
    (marked_copy / "index" / "val-00009.rst").write_bytes(raw)
    assert {(fault.file, fault.what) for fault in verify(str(marked_copy), 1, lambda *_: None).faults} == {
        ("index/train-00001.rst", "the segment lengths are not those that were packed"),
        ("index/val-00000.rst", "the file is missing"),
        ("index/val-00009.rst", "the manifest does not name this file"),
    }


@needs_jpegtran
def test_the_command_marks_by_default_and_says_what_it_costs(photos: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["pack", str(photos), "--out", str(tmp_path / "set")])
    assert re.search(
        r"^restart markers: [+-][\d,]+ bytes \([+-]\d+\.\d%\), 0 images left as", run.output, re.M
    )
    assert load_shardset(str(tmp_path / "set")).splits["val"].shards[0].segments
    again = CliRunner().invoke(
        app, ["pack", str(photos), "--out", str(tmp_path / "set"), "--no-restart-markers"]
    )
    assert again.exit_code != 0
    assert "restart_markers True there, none asked for" in str(again.exception)


def test_without_jpegtran_the_command_says_so_and_packs_plain(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    run = CliRunner().invoke(app, ["pack", str(photos), "--out", str(tmp_path / "set")])
    assert run.exit_code == 0
    assert (
        "packing without restart markers: jpegtran is not on PATH (Debian: libjpeg-turbo-progs)" in run.output
    )
    assert not list((tmp_path / "set" / "index").glob("*.rst"))
    assert load_shardset(str(tmp_path / "set")).splits["val"].shards[0].segments is None
    quiet = CliRunner().invoke(
        app, ["pack", str(photos), "--out", str(tmp_path / "set"), "--no-restart-markers"]
    )
    assert quiet.exit_code == 0
    assert "without restart markers" not in quiet.output
