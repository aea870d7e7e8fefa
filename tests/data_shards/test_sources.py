"""Listing a source: which files, which split, which keys."""

from pathlib import Path

from data_shards.sources import read_source


def test_a_flat_folder_gets_a_val_split_that_stays(tmp_path: Path) -> None:
    for number in range(300):
        path = tmp_path / "src" / f"class{number % 3}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    before = read_source(tmp_path / "src", 0.2)
    val = {item.file for item in before.splits["val"]}
    assert 40 <= len(val) <= 80
    assert len(before.splits["train"]) + len(val) == 300
    (tmp_path / "src" / "class0" / "new.jpg").write_bytes(b"x")
    after = read_source(tmp_path / "src", 0.2)
    assert {item.file for item in after.splits["val"]} - val <= {"class0/new.jpg"}
    assert val - {item.file for item in after.splits["val"]} <= val
    assert before.digest != after.digest


def test_the_cut_leaves_every_class_in_train(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"c{number:02d}").mkdir()
        (tmp_path / f"c{number:02d}" / "only.jpg").write_bytes(b"x")
    source = read_source(tmp_path, 0.9)
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
    source = read_source(tmp_path, 0)
    keys = [item.key for item in source.splits["train"]]
    assert len(set(keys)) == len(keys) == 27
    assert all("." not in key and key.isascii() and len(key) <= 90 for key in keys)
    assert "plain/x" in keys
    assert len(source.ignored) == 3
