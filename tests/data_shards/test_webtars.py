"""WebDataset tars as a source, and packing from archives: the same set as from the folder, killed or not."""

import json
from pathlib import Path

import pytest

from data_shards.errors import DataError, DataUsageError
from tests.data_shards.archives import CAT, DOG, photo, tar
from tests.data_shards.test_archives import images
from tests.data_shards.test_sources import keys, read


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    """Timm's layout: two tars of train, one of validation; labels 0 and 1 are DOG and CAT (in classes.txt)."""
    (tmp_path / "wds").mkdir()
    for place, name in enumerate(("imagenet-train-0000", "imagenet-train-0001", "imagenet-validation-0000")):
        members = []
        for n in range(4):
            key = f"n{place}{n}"
            members += [
                (f"{key}.cls", str(n % 2).encode()),
                (f"{key}.jpg", photo(10 * place + n)),
                (f"{key}.json", json.dumps({"label": n % 2, "filename": f"{key}.JPEG"}).encode()),
            ]
        (tmp_path / "wds" / f"{name}.tar").write_bytes(tar(members))
    (tmp_path / "wds" / "_info.json").write_text("{}")
    (tmp_path / "classes.txt").write_text(f"{DOG}\n{CAT}\n")
    return tmp_path / "wds"


def test_samples_splits_and_labels(tars: Path) -> None:
    source = read(tars, classes=tars.parent / "classes.txt")
    assert source.classes == (DOG, CAT)
    assert keys(source, "train") == [f"{DOG}/{k}" for k in ("n00", "n02", "n10", "n12")] + [
        f"{CAT}/{k}" for k in ("n01", "n03", "n11", "n13")
    ]
    assert images(source, "val")[f"{CAT}/n23"] == photo(23)
    listed = read(*sorted(tars.glob("*.tar")), classes=tars.parent / "classes.txt")
    assert listed.digest == source.digest


def write(tmp_path: Path, *members: tuple[str, bytes]) -> Path:
    (tmp_path / "x.tar").write_bytes(tar(members))
    return tmp_path / "x.tar"


@pytest.mark.parametrize(
    ("extension", "label"),
    [
        ("cls", CAT),
        ("json", json.dumps({"wnid": CAT})),
        ("json", json.dumps({"label": CAT})),
        ("cls", f"{CAT}\n"),
    ],
)
def test_wnids_need_no_class_list(tmp_path: Path, extension: str, label: str) -> None:
    source = read(
        write(tmp_path, ("a/b.c.png", b"mask"), ("a/b.PNG", photo(1)), (f"a/b.{extension}", label.encode()))
    )
    assert source.classes == (CAT,)
    assert keys(source, "train") == [f"{CAT}/b"]


def test_the_same_key_in_two_tars_is_two_samples(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.tar").write_bytes(tar([("000.jpg", photo(1)), ("000.cls", CAT.encode())]))
    assert keys(read(tmp_path / "one.tar", tmp_path / "two.tar"), "train") == [f"{CAT}/000", f"{CAT}/000-2"]


PICTURE = ("a.jpg", b"x")


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ([PICTURE], "sample 'a' of .*x.tar has no label: no .cls and no .json"),
        ([PICTURE, ("a.cls", b"2")], "the label of sample 'a' of .* is 2; --classes has 0 to 1"),
        ([PICTURE, ("a.cls", b"-1")], "is '-1': neither a number nor a WNID"),
        ([PICTURE, ("a.cls", b"")], "is '': neither a number nor a WNID"),
        ([PICTURE, ("a.json", b"{")], "the .json of sample 'a' of .* is damaged"),
        ([PICTURE, ("a.json", b"[" * 100_000)], "the .json of sample 'a' of .* is damaged"),
        ([PICTURE, ("a.json", b"{}")], "has no wnid and no label"),
        ([PICTURE, ("a.json", b'{"label": true}')], "is True: neither"),
        ([PICTURE, ("a.json", b'{"label": 1.5}')], "is 1.5: neither"),
        ([PICTURE, ("a.cls", b"0"), ("a.png", b"x")], "sample 'a' of .* has 2 images"),
        ([("a.cls", b"0")], "sample 'a' of .* has 0 images"),
        ([PICTURE, ("a.cls", b"0"), ("a.cls", b"0")], "holds sample 'a' twice"),
        ([PICTURE, ("a.cls", b"0"), ("b.txt", b""), PICTURE, ("a.cls", b"0")], "holds sample 'a' twice"),
        ([PICTURE, ("a.cls", b" " * (2 << 20))], "a.cls of .* has 2,097,152 bytes"),
        ([("../a.jpg", b"x"), ("../a.cls", b"0")], "its name leads out"),
    ],
)
def test_samples_that_are_none(tmp_path: Path, members: list[tuple[str, bytes]], complaint: str) -> None:
    (tmp_path / "classes.txt").write_text(f"{DOG}\n{CAT}\n")
    with pytest.raises(DataError, match=complaint):
        read(write(tmp_path, *members), classes=tmp_path / "classes.txt")


def test_what_cannot_be_packed(tars: Path, tmp_path: Path) -> None:
    with pytest.raises(DataUsageError, match="labels its samples by number: give --classes FILE"):
        read(tars)
    (tmp_path / "classes.txt").write_text(f"{DOG}\n{CAT}\nn00000009\n")
    with pytest.raises(DataError, match="--classes names 1 classes that train has not: n00000009"):
        read(tars, classes=tmp_path / "classes.txt")
    (tars / "imagenet-train-0001.tar").write_bytes(b"\x1f\x8b\x08 zipped")
    with pytest.raises(DataUsageError, match=r"imagenet-train-0001\.tar is gzipped.*gunzip it first"):
        read(tars, classes=tmp_path / "classes.txt")
    with pytest.raises(DataUsageError, match="only WebDataset tars are packed together"):
        read(tmp_path, tars, kind="folder")
    (tars / "imagenet-train-0001.tar").unlink()
    (tmp_path / "classes.txt").write_text(f"{DOG}\n{CAT}\n")
    with pytest.raises(DataUsageError, match="has a val split already"):
        read(tars, classes=tmp_path / "classes.txt", val=tmp_path)
