"""Packing from archives: the set that the folder gives, to the last byte, killed or not, resized or not."""

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from data_shards.cli import app
from data_shards.errors import DataUsageError
from data_shards.pack import PackOptions, PackResult, pack
from data_shards.resize import Resize
from data_shards.shard_writer import as_jpeg
from data_shards.shardset import Choices, load_shardset
from data_shards.sources import Inputs
from data_shards.verify import verify
from tests.data_shards.archives import CAT, DOG, EMU, photo, pictures, tar, write_layout
from tests.data_shards.devkit import write_kit, write_val
from tests.data_shards.test_pack import contents

TRAIN = "ILSVRC2012_img_train.tar"


def run(src: Path, out: Path, workers: int = 2, max_bad: float = 0.0, **options) -> PackResult:
    chosen = PackOptions(name="small", **{"samples_per_shard": 5, **options})
    return pack(src, str(out), chosen, workers, max_bad, lambda *_: None)


KILLED = """
import os, signal, sys
from pathlib import Path
from data_shards.pack import PackOptions, pack
ends = []
def on_shard(images, of):
    ends.append(images)
    if len(ends) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
pack(Path(sys.argv[1]), sys.argv[2], PackOptions(name="small", samples_per_shard=5), 2, 0.0, on_shard)
"""


def test_an_archive_packs_as_its_folder_does_even_when_it_is_killed(tmp_path: Path) -> None:
    drawn = pictures()
    run(write_layout("folder", drawn, tmp_path), tmp_path / "of folder", workers=1)
    train = write_layout(TRAIN, drawn, tmp_path)
    process = subprocess.run(
        [sys.executable, "-c", KILLED, str(train), str(tmp_path / "killed")],
        capture_output=True,  # ends when the workers have ended, too
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.returncode == -9, process.stderr
    assert not (tmp_path / "killed" / "shardset.json").exists()
    result = run(train, tmp_path / "killed")
    assert result.resumed >= 10
    assert contents(tmp_path / "killed") == contents(tmp_path / "of folder")
    assert run(train, tmp_path / "killed").complete_before
    assert verify(str(tmp_path / "killed"), 1, lambda *_: None).faults == ()


def test_ilsvrc2012_by_one_command(tmp_path: Path) -> None:
    train, val = write_layout(TRAIN, pictures(), tmp_path), write_val(tmp_path)
    command = [
        "pack",
        str(train),
        "--val",
        str(val),
        "--val-labels",
        str(write_kit(tmp_path)),
        "--minival",
        "2",
    ]
    done = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "out"), "--workers", "1", "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["images"], said["classes"], said["quarantined"], said["resumed"]) == (27, 3, 0, 0)
    found = load_shardset(str(tmp_path / "out"))
    assert found.name == "ILSVRC2012_img_train"
    assert found.classes == (CAT, DOG, EMU)
    counts = {split: part.class_counts for split, part in found.splits.items()}
    assert counts == {"train": (5, 5, 5), "val": (2, 2, 2), "minival": (2, 2, 2)}
    assert found.packing.minival == 2


def test_odd_files_of_an_archive(tmp_path: Path) -> None:
    drawn = pictures([CAT, DOG])
    drawn[CAT] |= {
        "zero.JPEG": b"",
        "cut.JPEG": photo(5, (200, 150))[:3000],
        "page.JPEG": b"<html>404</html>",
    }
    result = run(write_layout(TRAIN, drawn, tmp_path), tmp_path / "out", max_bad=0.5, val_fraction=0)
    assert result.quarantined == 3
    assert result.shardset.splits["train"].class_counts == (7, 7)
    lines = [json.loads(line) for line in (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()]
    raw = (tmp_path / TRAIN).read_bytes()
    places = {line["file"].split(": ")[1].split(",")[0]: line for line in lines}
    assert sorted(places) == [f"{CAT}/cut", f"{CAT}/page", f"{CAT}/zero"]
    # the rest as in the archive: rotated by EXIF and gray unchanged, CMYK and PNG as JPEG in RGB
    found = {}
    for shard in (tmp_path / "out" / "shards").glob("*.tar"):
        with tarfile.open(shard) as packed:
            found |= {m.name: packed.extractfile(m).read() for m in packed if m.name.endswith("jpg")}
    originals = dict(list(drawn[CAT].items())[:4])
    for number, (name, original) in enumerate(originals.items()):
        jpeg = found[f"{CAT}/{name.split('.')[0]}.jpg"]
        assert (jpeg == original) == (number in (1, 2))
        with Image.open(io.BytesIO(jpeg)) as image:
            assert (image.format, image.size) == ("JPEG", (20, 16))
            assert image.mode == ("L" if number == 2 else "RGB")
    at = int(places[f"{CAT}/page"]["file"].rpartition(" ")[2])
    assert raw[at : at + 16] == b"<html>404</html>"


def test_another_choice_is_refused_with_the_difference(tmp_path: Path) -> None:
    train = write_layout(TRAIN, pictures(), tmp_path)
    run(train, tmp_path / "out", minival=1)
    before = contents(tmp_path / "out")
    with pytest.raises(DataUsageError, match=r"another set: minival 1 there, 2 asked for\. "):
        run(train, tmp_path / "out", minival=2)
    with pytest.raises(DataUsageError, match=r"minival 1 there, none asked for\. "):
        run(train, tmp_path / "out")
    with pytest.raises(
        DataUsageError, match="resize none there, 32 asked for; resize_mode none there, short"
    ):
        run(train, tmp_path / "out", minival=1, resize=32, resize_mode="short")
    assert contents(tmp_path / "out") == before


def test_sets_of_before_keep_their_fingerprint(packed: str) -> None:
    found = load_shardset(packed)
    plain = found.packing.model_copy(update={"val_fraction": None})
    assert set(json.loads(plain.model_dump_json())) == {"seed", "samples_per_shard", "source"}


def test_web_tars_are_packed_anew(tmp_path: Path) -> None:
    members = [
        part for n in range(12) for part in ((f"{n}.cls", str(n % 2).encode()), (f"{n}.jpg", photo(n)))
    ]
    (tmp_path / "set-train-000.tar").write_bytes(tar(members))
    (tmp_path / "classes.txt").write_text(f"{DOG}\n{CAT}\n")
    inputs = Inputs(paths=(tmp_path / "set-train-000.tar",), classes=tmp_path / "classes.txt")
    result = pack(inputs, str(tmp_path / "out"), PackOptions(name="again"), 1, 0.0, lambda *_: None)
    assert result.shardset.classes == (DOG, CAT)
    assert sum(split.samples for split in result.shardset.splits.values()) == 12
    assert verify(str(tmp_path / "out"), 1, lambda *_: None).faults == ()


# resize ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "short", "squash"),
    [
        ((500, 375), (341, 256), (256, 256)),
        ((375, 500), (256, 341), (256, 256)),
        ((256, 9000), (256, 9000), (256, 256)),
        ((200, 100), (200, 100), (256, 256)),
        ((257, 257), (256, 256), (256, 256)),
    ],
)
def test_target_sizes(size: tuple[int, int], short: tuple[int, int], squash: tuple[int, int]) -> None:
    assert Resize(edge=256, squash=False).target(size) == short
    assert Resize(edge=256, squash=True).target(size) == squash
    assert Resize.asked(Choices()) is None


def test_what_is_small_enough_passes_unchanged() -> None:
    raw = photo(1, (64, 48))
    assert as_jpeg(raw, Resize(edge=48, squash=False)) == (raw, 64, 48)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_resized_pictures_are_antialiased(mode: str) -> None:
    stripes = np.zeros((200, 300, 3), np.uint8)
    stripes[:, ::2] = 255  # to be gray when it is smaller, not stripes of another width
    raw = io.BytesIO()
    Image.fromarray(stripes).convert(mode).save(raw, "JPEG", quality=95)
    jpeg, width, height = as_jpeg(raw.getvalue(), Resize(edge=50, squash=False))
    with Image.open(io.BytesIO(jpeg)) as image:
        assert (image.size, image.mode) == ((width, height), "RGB") == ((75, 50), "RGB")
        pixels = np.asarray(image, float)
    assert abs(pixels.mean() - 127) < 4
    assert pixels[:, 2:-2].std() < 8


def test_a_resized_set(tmp_path: Path) -> None:
    drawn = {CAT: {f"{n}.JPEG": photo(n, (80, 60 + n)) for n in range(4)}}
    src = write_layout("folder", drawn, tmp_path)
    run(src, tmp_path / "out", resize=32, resize_mode="squash", val_fraction=0)
    assert load_shardset(str(tmp_path / "out")).packing.resize_mode == "squash"
    assert verify(str(tmp_path / "out"), 1, lambda *_: None).faults == ()
    tars = sorted((tmp_path / "out" / "shards").glob("*.tar"))
    import webdataset

    for sample in webdataset.WebDataset([str(path) for path in tars], shardshuffle=False):
        with Image.open(io.BytesIO(sample["jpg"])) as image:
            assert image.size == (32, 32)
