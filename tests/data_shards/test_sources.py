"""Listing a source: which files, which split, which keys."""

from pathlib import Path

import pytest

from data_shards.errors import DataError, DataUsageError
from data_shards.shardset import Choices
from data_shards.sources import Inputs, Source, read_source


def read(*paths: Path, val_fraction: float = 0.0, **given) -> Source:
    """A source with the Inputs and Choices that are given by name."""
    choices = {name: given.pop(name) for name in list(given) if name in Choices.model_fields}
    chosen = Choices(val_fraction=val_fraction, **choices)
    return read_source(Inputs(paths=paths, **given), chosen, lambda *_: None)


def test_a_flat_folder_gets_a_val_split_that_stays(tmp_path: Path) -> None:
    for number in range(300):
        path = tmp_path / "src" / f"class{number % 3}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    before = read(tmp_path / "src", val_fraction=0.2)
    val = {item.file for item in before.splits["val"]}
    assert 40 <= len(val) <= 80
    assert len(before.splits["train"]) + len(val) == 300
    (tmp_path / "src" / "class0" / "new.jpg").write_bytes(b"x")
    after = read(tmp_path / "src", val_fraction=0.2)
    assert {item.file for item in after.splits["val"]} - val <= {"class0/new.jpg"}
    assert val - {item.file for item in after.splits["val"]} <= val
    assert before.digest != after.digest


def test_the_cut_leaves_every_class_in_train(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"c{number:02d}").mkdir()
        (tmp_path / f"c{number:02d}" / "only.jpg").write_bytes(b"x")
    source = read(tmp_path, val_fraction=0.9)
    assert {item.label for item in source.splits["train"]} == set(range(50))


def test_keys_are_unique_plain_and_short(tmp_path: Path) -> None:
    names = [
        "a.b.jpg",
        "a_b.jpg",
        "a b.PNG",
        "x.jpg",
        "x.png",
        "x.JPEG",
        "ü.jpg",
        "ö.jpg",
        "l" * 120 + ".jpg",
    ]
    for folder in ("plain", "with.dot", "katze ü"):
        (tmp_path / folder).mkdir()
        for name in [*names, "notes.txt"]:
            (tmp_path / folder / name).write_bytes(b"x")
    source = read(tmp_path)
    keys = [item.key for item in source.splits["train"]]
    assert len(set(keys)) == len(keys) == 27
    assert all("." not in key and key.isascii() and len(key) <= 90 for key in keys)
    assert "plain/x" in keys
    assert len(source.ignored) == 3


# what is kept, what is held out ---------------------------------------------------------------------------


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """A flat folder: class a of 2 images, b of 5, c of 9."""
    for name, count in (("a", 2), ("b", 5), ("c", 9)):
        (tmp_path / "src" / name).mkdir(parents=True)
        for number in range(count):
            (tmp_path / "src" / name / f"{number}.jpg").write_bytes(b"x" * number)
    return tmp_path / "src"


def keys(source: Source, split: str) -> list[str]:
    return [item.key for item in source.splits[split]]


def test_small_classes_are_left_out_and_the_first_of_each_are_val(classes: Path) -> None:
    source = read(classes, min_per_class=5, val_per_class=2)
    assert source.classes == ("b", "c")
    assert keys(source, "val") == ["b/0", "b/1", "c/0", "c/1"]
    assert keys(source, "train") == ["b/2", "b/3", "b/4", *(f"c/{n}" for n in range(2, 9))]
    assert {item.label for item in source.splits["train"]} == {0, 1}


def test_minival_comes_from_what_val_has_left(classes: Path) -> None:
    source = read(classes, min_per_class=5, val_per_class=2, minival=2)
    assert keys(source, "minival") == ["b/2", "b/3", "c/2", "c/3"]
    everything = [key for split in source.splits for key in keys(source, split)]
    assert len(everything) == len(set(everything)) == 14


def test_minival_by_seed(classes: Path) -> None:
    drawn = {seed: keys(read(classes, minival=1, minival_seed=seed), "minival") for seed in range(8)}
    assert drawn == {seed: keys(read(classes, minival=1, minival_seed=seed), "minival") for seed in range(8)}
    assert {len(found) for found in drawn.values()} == {3}
    assert len({found[2] for found in drawn.values()}) > 2  # of nine images of class c, not always the same


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"minival": 2}, "class a has 2 images to train on, and 2 are to go to minival: .*--min-per-class 3"),
        ({"val_per_class": 7}, "class a has 2 images .* 7 are to go to val"),
        ({"min_per_class": 10}, "the source has 3 classes, 0 of them to be packed"),
        ({"minival_seed": 1}, "there is no --minival"),
    ],
)
def test_what_cannot_be_held_out(classes: Path, asked: dict[str, int], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        read(classes, **asked)


def test_a_class_list_chooses_and_orders(classes: Path, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("c  the third\na\n\n")
    source = read(classes, classes=tmp_path / "list")
    assert source.classes == ("c", "a")
    assert [(item.key[0], item.label) for item in source.splits["train"]] == [("c", 0)] * 9 + [("a", 1)] * 2


def test_class_lists_that_do_not_fit(classes: Path, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("a\nn00000001\nn00000002\n")
    with pytest.raises(DataError, match=r"2 classes that train has not: n00000001, n00000002\. Take them"):
        read(classes, classes=tmp_path / "list")
    (tmp_path / "list").write_text("a\nb\na\n")
    with pytest.raises(DataUsageError, match="line 3 names a again, as line 1"):
        read(classes, classes=tmp_path / "list")
    (tmp_path / "list").write_text("\n")
    with pytest.raises(DataUsageError, match="names 0 classes"):
        read(classes, classes=tmp_path / "list")
    with pytest.raises(DataUsageError, match="cannot read --classes"):
        read(classes, classes=tmp_path / "nowhere")


def test_the_digest_knows_sizes_splits_and_classes(classes: Path) -> None:
    first = read(classes)
    assert read(classes).digest == first.digest
    assert read(classes, minival=1).digest != first.digest
    (classes / "a" / "0.jpg").write_bytes(b"longer")
    second = read(classes)
    assert second.digest != first.digest
    (classes / "a").rename(classes / "aa")
    assert read(classes).digest != second.digest


def test_a_folder_and_tars_side_by_side_must_be_told_apart(classes: Path) -> None:
    (classes / "more.tar").write_bytes(b"")
    with pytest.raises(DataUsageError, match="--kind folder or --kind webdataset"):
        read(classes)
    assert read(classes, kind="folder").images == 16


def test_a_link_to_nothing_is_named(classes: Path) -> None:
    (classes / "a" / "gone.jpg").symlink_to(classes / "nowhere")
    with pytest.raises(DataError, match=r"cannot read .*a/gone\.jpg: No such file"):
        read(classes)
