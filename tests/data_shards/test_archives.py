"""ImageNet's releases as sources: every layout lists the same images, and what is damaged is named."""

import contextlib
import gzip
import struct
import subprocess
import tarfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_shards.errors import DataError, DataUsageError
from data_shards.shardset import Choices
from data_shards.sources import Inputs, Source, read_item, read_source
from data_shards.sources.labels import read_labels
from data_shards.sources.matfile import structs
from tests.data_shards.archives import (
    CAT,
    DOG,
    EMU,
    LAYOUTS,
    class_tars,
    photo,
    pictures,
    tar,
    write_folder,
    write_layout,
)
from tests.data_shards.devkit import KIT, META, TRUTH, WNIDS, val_images, write_csv, write_kit, write_val
from tests.data_shards.test_sources import keys, read


def images(source: Source, split: str = "train") -> dict[str, bytes]:
    """The bytes of each image by its key."""
    return {item.key: read_item(source.root, item) for item in source.splits[split]}


# classes in archives --------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_the_folder_that_it_unpacks_to(layout: str, tmp_path: Path) -> None:
    drawn = pictures()
    folder = read(write_layout("folder", drawn, tmp_path / "f"))
    source = read(write_layout(layout, drawn, tmp_path), scratch=tmp_path / "scratch")
    assert (source.classes, source.digest) == (folder.classes, folder.digest)
    assert images(source) == images(folder)
    assert len(images(source)) == 21
    assert (tmp_path / "scratch").exists() == ("gz" in layout)


def test_what_is_no_class_archive_or_no_image_is_ignored_by_name(tmp_path: Path) -> None:
    drawn = pictures([CAT])
    drawn[CAT] |= {"notes.txt": b"", "._n00000001_0.JPEG": b"of a Mac"}
    (tmp_path / "train.tar").write_bytes(
        tar([*class_tars(drawn).items(), ("ILSVRC2012_img_train_t3.tar", b"")])
    )
    source = read(tmp_path / "train.tar")
    assert len(source.splits["train"]) == 7
    assert sorted(name.rpartition("/")[2] for name in source.ignored) == [
        "._n00000001_0.JPEG",
        "ILSVRC2012_img_train_t3.tar",
        "notes.txt",
    ]


def test_a_subset_of_22k_by_a_class_list(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{EMU}\n{CAT}\n")
    source = read(write_layout(LAYOUTS[0], pictures(), tmp_path), classes=tmp_path / "list.txt")
    assert source.classes == (EMU, CAT)
    assert len(source.splits["train"]) == 14


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ([(f"{CAT}.tar", b"not a tar" * 100)], rf"{CAT}\.tar is no plain tar archive"),
        ([(f"{CAT}.tar", tar([]))], rf"{CAT}\.tar has no image"),
        ([(f"{CAT}.tar", tar([("a.jpg", b"x")])), (f"b/{CAT}.tar", tar([]))], f"holds class {CAT} twice"),
        ([(f"{CAT}.tar", tar([("../a.jpg", b"x")]))], r"'\.\./a\.jpg', its name leads out"),
        ([(f"../{CAT}.tar", tar([("a.jpg", b"x")]))], "its name leads out"),
        (
            [(f"{CAT}.tar", tar([("a.jpg", b"x" * 5000)])[:3000])],
            r"n00000001\.tar is cut off: 'a\.jpg' needs 5,000",
        ),
        ([("cat.tar", tar([("a.jpg", b"x")]))], "no archive named by its class"),
    ],
)
def test_damaged_and_hostile_class_archives(tmp_path: Path, members: list, complaint: str) -> None:
    (tmp_path / "all.tar").write_bytes(tar(members))
    with pytest.raises(DataError, match=complaint):
        read(tmp_path / "all.tar", kind="class-tars")
    assert [path.name for path in tmp_path.iterdir()] == ["all.tar"]


def test_a_truncated_archive_of_archives(tmp_path: Path) -> None:
    place = write_layout(LAYOUTS[0], pictures(), tmp_path)
    raw = place.read_bytes()
    second = raw.index(b"n00000002.tar")
    for cut in (second, second + 512, second + 5000, len(raw) // 2 // 512 * 512):
        place.write_bytes(raw[:cut])
        with pytest.raises(DataError, match="is cut off"):
            read(place)


def test_an_image_that_changes_after_listing(tmp_path: Path) -> None:
    drawn = pictures([CAT])
    source = read(write_folder(drawn, tmp_path / "folder"))
    first = tmp_path / "folder" / source.splits["train"][0].file
    first.write_bytes(first.read_bytes() + b"more")
    with pytest.raises(DataError, match="has changed since it was listed"):
        read_item(source.root, source.splits["train"][0])
    place = write_layout(LAYOUTS[0], drawn, tmp_path)
    source = read(place)
    place.write_bytes(b"")
    with pytest.raises(DataError, match="has changed since it was listed"):
        read_item(source.root, source.splits["train"][0])


def test_an_image_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    source = read(write_folder({CAT: {"a.jpg": b"x"}}, tmp_path / "folder"))
    with (tmp_path / "folder" / CAT / "a.jpg").open("r+b") as file:
        file.truncate(1 << 40)
    source = read(tmp_path / "folder")
    with pytest.raises(
        DataError, match="1099511627776 bytes are refused: the limit for an image is 67108864"
    ):
        read_item(source.root, source.splits["train"][0])


# gzip -----------------------------------------------------------------------------------------------------


def test_gzip_asks_for_scratch(tmp_path: Path) -> None:
    with pytest.raises(DataUsageError, match=r"winter21_whole\.tar\.gz is gzipped.*--scratch DIR"):
        read(write_layout("winter21_whole.tar.gz", pictures(), tmp_path))


def test_unpacking_goes_on_behind_what_is_there(tmp_path: Path) -> None:
    def stop(archives: int, of: int) -> None:
        raise KeyboardInterrupt

    place = write_layout("winter21_whole.tar.gz", pictures(), tmp_path)
    folder = tmp_path / "scratch" / place.name
    with pytest.raises(KeyboardInterrupt):
        read_source(Inputs(paths=(place,), scratch=tmp_path / "scratch"), Choices(), stop)
    first = folder / f"{CAT}.tar"
    assert sorted(path.name for path in folder.iterdir()) == [first.name, "source.json"]
    kept = first.stat().st_mtime_ns
    full = read(place, scratch=tmp_path / "scratch")
    assert full.digest == read(write_layout(LAYOUTS[0], pictures(), tmp_path)).digest
    assert first.stat().st_mtime_ns == kept
    # when it is complete, the archive is not streamed again
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert read(place, scratch=tmp_path / "scratch").digest == full.digest
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_scratch_of_another_archive_of_the_same_name(tmp_path: Path) -> None:
    place = write_layout("winter21_whole.tar.gz", pictures(), tmp_path)
    read(place, scratch=tmp_path / "scratch")
    write_layout("winter21_whole.tar.gz", pictures(each=8), tmp_path)
    with pytest.raises(DataUsageError, match=r"unpacked of another winter21_whole\.tar\.gz: remove it"):
        read(place, scratch=tmp_path / "scratch")


@pytest.mark.parametrize("damage", ["flip", "cut", "checksum"])
def test_damaged_gzip_is_named(tmp_path: Path, damage: str) -> None:
    place = write_layout("winter21_whole.tar.gz", pictures(), tmp_path)
    raw = bytearray(place.read_bytes())
    if damage == "cut":
        raw = raw[:-9]
    else:
        raw[len(raw) // 2 if damage == "flip" else -6] ^= 0x55
    place.write_bytes(raw)
    with pytest.raises(DataError, match="cut off or damaged"):
        read(place, scratch=tmp_path / "scratch")


def test_a_gzip_bomb_is_refused(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(20_000_000))
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / f"{CAT}.tar.gz").write_bytes(bomb)
    with pytest.raises(
        DataError, match=r"to more than .* 100 times its own: refused\. If you trust it, gunzip"
    ):
        read(tmp_path / "src", scratch=tmp_path / "scratch")
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_full_scratch_disk_is_said_and_continued(tmp_path: Path, small_disk: Path) -> None:
    drawn = {
        wnid: {f"{wnid}_{n}.JPEG": photo(n, (150, 150), quality=100) for n in range(6)} for wnid in (CAT, DOG)
    }
    place = write_layout("winter21_whole.tar.gz", drawn, tmp_path)
    with pytest.raises(DataError, match=r"the disk is full: .*the same command again"):
        read(place, scratch=small_disk)
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    assert len(read(place, scratch=small_disk).splits["train"]) == 12


# validation images and their labels -----------------------------------------------------------------------

EXPECTED = [(WNIDS[n - 1], f"ILSVRC2012_val_{n:08d}") for n in (3, 5, 1, 4, 2, 6)]


@pytest.mark.parametrize("form", ["kit", "kit folder", "kit's data folder", "csv"])
@pytest.mark.parametrize("flat", ["tar", "folder"])
def test_validation_images_get_their_classes(tmp_path: Path, form: str, flat: str) -> None:
    train, val = write_layout(LAYOUTS[0], pictures(), tmp_path), write_val(tmp_path)
    if flat == "folder":
        val = tmp_path / "elsewhere" / "val"
        val.mkdir(parents=True)
        for name, raw in val_images().items():
            (val / name).write_bytes(raw)
    labels = write_csv(tmp_path) if form == "csv" else write_kit(tmp_path)
    if "folder" in form:
        with tarfile.open(labels) as kit:
            kit.extractall(tmp_path)
        labels = tmp_path / KIT / ("data" if "data" in form else "")
    source = read(train, val=val, val_labels=labels)
    assert keys(source, "val") == [f"{wnid}/{stem}" for wnid, stem in EXPECTED]
    found = images(source, "val")
    assert {f"{key.split('/')[1]}.JPEG": raw for key, raw in found.items()} == val_images()
    assert source.splits["val"][0].label == source.classes.index(CAT)


def test_val_as_class_archives_or_class_folders(tmp_path: Path) -> None:
    train = write_layout(LAYOUTS[0], pictures(), tmp_path)
    drawn = pictures([CAT, DOG], each=5)
    folder = read(train, val=write_folder(drawn, tmp_path / "val"))
    assert len(folder.splits["val"]) == 10
    assert read(train, val=write_layout("fall11_whole.tar", drawn, tmp_path / "v")).digest == folder.digest


def test_labels_and_images_that_do_not_fit(tmp_path: Path) -> None:
    train, val = write_layout(LAYOUTS[0], pictures(), tmp_path), write_val(tmp_path)
    with pytest.raises(DataError, match="names 1 images that are not there, ILSVRC2012_val_00000007"):
        read(train, val=val, val_labels=write_kit(tmp_path, truth=TRUTH + b"1\n"))
    with pytest.raises(DataError, match="has no label for 1 images, ILSVRC2012_val_00000006"):
        read(train, val=val, val_labels=write_kit(tmp_path, truth=TRUTH[:-2]))
    with pytest.raises(DataError, match=r"line 7 of ILSVRC2012_validation_ground_truth\.txt is '77'"):
        read(train, val=val, val_labels=write_kit(tmp_path, truth=TRUTH + b"77\n"))
    with pytest.raises(DataUsageError, match="does not say what its images show: give --val-labels"):
        read(train, val=val)
    with pytest.raises(DataUsageError, match="labels what --val holds: give --val too"):
        read(train, val_labels=write_kit(tmp_path))
    with pytest.raises(DataError, match=r"no label: .* give them by --val with --val-labels"):
        read(val)
    with pytest.raises(DataError, match="val has 1 classes that train has not, n00000003"):
        read(
            write_layout(LAYOUTS[0], pictures([CAT, DOG]), tmp_path), val=val, val_labels=write_kit(tmp_path)
        )


def test_label_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("ImageId,PredictionString\nx,cat 1 2 3 4\n")
    with pytest.raises(DataError, match=r"line 2 of .*labels\.csv is no 'ImageId,PredictionString'"):
        read_labels(tmp_path / "labels.csv")
    (tmp_path / "labels.txt").write_text("1\n2\n")
    with pytest.raises(DataError, match=r"cannot read .*labels\.txt"):
        read_labels(tmp_path / "labels.txt")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataUsageError, match="neither ImageNet's development kit"):
        read_labels(tmp_path / "folder")
    with pytest.raises(DataError, match=r"meta\.mat is no MAT-file"):
        read_labels(write_kit(tmp_path, meta=b"<html>"))
    with pytest.raises(DataError, match=r"meta\.mat is damaged"):
        read_labels(write_kit(tmp_path, meta=META[:300]))
    with pytest.raises(DataError, match="cannot read"):
        read_labels(tmp_path / "nowhere.csv")


# MAT-files ------------------------------------------------------------------------------------------------


def test_a_mat_file_that_scipy_wrote() -> None:
    rows = structs(META, "synsets", "meta.mat")
    assert [(row["ILSVRC2012_ID"], row["WNID"]) for row in rows] == [
        (1, CAT),
        (2, DOG),
        (3, EMU),
        (1001, "n00001740"),
    ]
    assert rows[2]["words"] == "Emü"
    assert rows[3]["num_children"] == 2
    with pytest.raises(DataError, match="no array of structs called 'other'"):
        structs(META, "other", "meta.mat")


def test_numbers_and_texts_as_matlab_writes_them() -> None:
    def element(kind: int, data: bytes) -> bytes:
        if len(data) <= 4:
            return struct.pack("<HH", kind, len(data)) + data.ljust(4, b"\0")
        return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)

    def matrix(kind: int, name: bytes, *parts: bytes) -> bytes:
        head = (
            element(6, struct.pack("<II", kind, 0)) + element(5, struct.pack("<ii", 1, 1)) + element(1, name)
        )
        return element(14, head + b"".join(parts))

    id_double, wnid_utf16 = element(9, struct.pack("<d", 12)), element(4, CAT.encode("utf-16-le"))
    names = element(5, struct.pack("<i", 6)) + element(1, b"ID\0\0\0\0WNID\0\0")
    array = matrix(2, b"synsets", names, matrix(6, b"", id_double), matrix(4, b"", wnid_utf16))
    header = bytes(124) + b"\x00\x01IM"
    assert structs(header + array, "synsets", "m") == [{"ID": 12.0, "WNID": CAT}]
    packed = zlib.compress(array)
    zipped = header + struct.pack("<II", 15, len(packed)) + packed
    assert structs(zipped, "synsets", "m") == [{"ID": 12.0, "WNID": CAT}]


@given(place=st.integers(128, len(META) - 1), junk=st.binary(min_size=1, max_size=12), inside=st.booleans())
def test_a_damaged_mat_file_is_read_or_refused(place: int, junk: bytes, inside: bool) -> None:
    raw = META
    if inside:  # damage that compression does not notice
        size = struct.unpack_from("<I", META, 132)[0]
        first = zlib.decompress(META[136 : 136 + size])
        rest = META[136 + size :]
        array = zlib.decompress(rest[8:])
        raw = META[:128] + first + array
        place = 128 + (place - 128) * (len(raw) - 129) // len(META)
    with contextlib.suppress(DataError):
        structs(raw[:place] + junk + raw[place + len(junk) :], "synsets", "m")
