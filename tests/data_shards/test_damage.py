"""Whatever happens to a set's files, verify finds it, and the reader never delivers a wrong sample meanwhile."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from foreign import index, photo, sample, write_tar
from typer.testing import CliRunner

from benchmarks.damage import adopted, attempts, read_all
from data_shards.cli import app
from data_shards.errors import DataError, DataUsageError
from data_shards.index import decode_index
from data_shards.reader import Reader, labels, read_jpeg
from data_shards.restart import available
from data_shards.shardset import load_shardset
from data_shards.store import open_store
from data_shards.verify import Depth, Verification, verify


def check(url: Path | str, depth: Depth = "digests") -> Verification:
    return verify(str(url), 2, lambda *_: None, depth)


def places(found: Verification) -> list[tuple[str, str]]:
    return [(fault.file, fault.what) for fault in found.faults]


def rewrite(root: Path, **changes: object) -> None:
    manifest = load_shardset(str(root)).model_copy(update=changes)
    (root / "shardset.json").write_text(manifest.model_dump_json())


@pytest.mark.parametrize("kind", ["packed", "adopted"])
def test_random_cuts_and_flipped_bits(kind: str, make_set: Callable[..., str], tmp_path: Path) -> None:
    """A tenth of what benchmarks/damage.py does, over both kinds of sets together."""
    packed = make_set(restart_markers=available() or None)
    url = packed if kind == "packed" else adopted(packed, tmp_path / "adopted")
    made = list(attempts(url, truncations=25, flips=50, seed=1))
    assert len(made) == 75
    assert [one for one in made if not one.found] == []
    assert [one for one in made if one.wrong] == []
    assert (
        sum(one.refused > 0 for one in made) > 40
    )  # the rest hit headers and labels, which the index replaces
    assert check(url).faults == ()


def test_an_index_from_another_version_of_a_shard(make_set: Callable[..., str], packed_copy: Path) -> None:
    other = Path(make_set(seed=1)) / "index" / "train-00001.idx"
    shutil.copy(other, packed_copy / "index" / "train-00001.idx")
    for depth in ("index", "digests"):
        assert places(check(packed_copy, depth)) == [
            ("index/train-00001.idx", "the index is not the one that was packed")
        ]
    train = load_shardset(str(packed_copy)).splits["train"]
    with pytest.raises(DataError, match=r"train-00001\.idx is damaged: its sha256 is"):
        Reader(str(packed_copy), train).read(1, 0)


def test_a_tar_replaced_by_one_of_equal_size(tmp_path: Path) -> None:
    """One picture is another one; the bytes are as many, the tar is whole, and so are the pictures."""
    one, two = photo(1), photo(8)
    length = max(len(one), len(two))
    pictures = [raw + bytes(length - len(raw)) for raw in (one, two)]  # decoders stop at the end of the image
    write_tar(tmp_path / "train-0.tar", [("a.jpg", pictures[0]), ("a.cls", b"1"), *sample(3)])
    index(tmp_path)
    before = dict(read_all(str(tmp_path)))
    write_tar(tmp_path / "train-0.tar", [("a.jpg", pictures[1]), ("a.cls", b"1"), *sample(3)])
    assert check(tmp_path, "index").faults == ()  # which reads no tar, and says so
    assert [(fault.file, fault.offset) for fault in check(tmp_path).faults] == [("train-0.tar", 512)]
    assert dict(read_all(str(tmp_path))) == {("train", 0, 1): before["train", 0, 1]}


def test_what_reading_no_tar_can_tell(packed_copy: Path) -> None:
    (packed_copy / "shards" / "train-00001.tar").unlink()
    (packed_copy / "shards" / "train-00009.tar").write_bytes(b"older packing")
    cut = packed_copy / "shards" / "train-00002.tar"
    size = cut.stat().st_size
    cut.write_bytes(cut.read_bytes()[:1000])
    assert places(check(packed_copy, "index")) == [
        ("shards/train-00009.tar", "the manifest does not name this file"),
        ("shards/train-00001.tar", "the file is missing"),
        ("shards/train-00002.tar", f"1000 bytes long, packed were {size}"),
    ]
    result = CliRunner().invoke(app, ["verify", str(packed_copy), "--depth", "index"])
    assert result.exit_code == 1
    assert "3 faults by sizes and indexes (no tar was read, so no key was seen)" in result.output


def test_counts_and_labels_are_checked_without_a_tar(packed_copy: Path) -> None:
    whole = load_shardset(str(packed_copy))
    val = whole.splits["val"].model_copy(update={"class_counts": (5, 5, 5, 5, 4, 6)})
    rewrite(packed_copy, splits={**whole.splits, "val": val})
    assert places(check(packed_copy, "index")) == [
        ("shardset.json", "split val has 5 samples of label 4, the manifest says 4"),
        ("shardset.json", "split val has 5 samples of label 5, the manifest says 6"),
    ]
    short = val.model_copy(update={"class_counts": (5, 5, 5, 5, 5)})
    rewrite(packed_copy, splits={**whole.splits, "val": short})
    assert places(check(packed_copy, "index")) == [("shardset.json", "split val counts 5 classes of 6")]


def test_the_reader_refuses_a_label_that_the_manifest_has_no_class_for(packed_copy: Path) -> None:
    whole = load_shardset(str(packed_copy))
    splits = {
        name: split.model_copy(update={"class_counts": split.class_counts[:5]})
        for name, split in whole.splits.items()
    }
    rewrite(packed_copy, classes=whole.classes[:5], splits=splits)
    found = load_shardset(str(packed_copy))
    said = r"val-00000\.idx has label 5, and the manifest has 5 classes"
    with pytest.raises(DataError, match=said):
        Reader(str(packed_copy), found.splits["val"]).read(0, 0)
    with pytest.raises(DataError, match=said):
        read_jpeg(str(packed_copy), found, "val", 0)
    with pytest.raises(DataError, match=said):
        labels(str(packed_copy), found, "val")


def test_an_adopted_index_that_says_otherwise_than_its_tar(tmp_path: Path) -> None:
    """All digests are right; somebody wrote another label into the index and the manifest."""
    write_tar(tmp_path / "train-0.tar", [*sample(1), *sample(2), *sample(3)])
    index(tmp_path)
    records = decode_index((tmp_path / "index" / "train-0.idx").read_bytes()).copy()
    records["label"][1] = 2
    (tmp_path / "index" / "train-0.idx").write_bytes(records.tobytes())
    whole = load_shardset(str(tmp_path)).splits["train"]
    digest = hashlib.sha256(records.tobytes()).hexdigest()
    shard = whole.shards[0].model_copy(update={"index_sha256": digest})
    train = whole.model_copy(update={"shards": (shard,), "class_counts": (0, 2, 1)})
    rewrite(tmp_path, splits={"train": train})
    start = int(records["block"][1]) * 512
    assert [(fault.file, fault.offset, fault.what) for fault in check(tmp_path).faults] == [
        ("train-0.tar", start, "sample 1: what is here is not what was packed")
    ]


# what a manifest or a URL may name ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "key"),
    [
        ("tar", "../secret.tar"),
        ("tar", "/etc/passwd"),
        ("tar", "a/../../secret.tar"),
        ("tar", "http://example.com/a.tar"),
        ("tar", "s3://other-bucket/a.tar"),
        ("tar", "file:///etc/passwd"),
        ("tar", "a\0.tar"),
        ("name", "../../secret"),
        ("name", "/secret"),
    ],
)
def test_a_manifest_may_name_only_what_lies_under_its_root(packed_copy: Path, field: str, key: str) -> None:
    manifest = json.loads((packed_copy / "shardset.json").read_text())
    manifest["splits"]["val"]["shards"][0][field] = key
    (packed_copy / "shardset.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="leads out of the set"):
        load_shardset(str(packed_copy))


@pytest.mark.parametrize(
    "command", ["pipe:touch {0}", "pipe:touch {0} |", "|touch {0}", "; touch {0}", "$(touch {0})"]
)
def test_a_command_is_a_file_name_and_nothing_else(packed_copy: Path, tmp_path: Path, command: str) -> None:
    proof = tmp_path / "executed"
    key = command.format(proof.name)
    whole = load_shardset(str(packed_copy))
    shard = whole.splits["val"].shards[0].model_copy(update={"tar": key})
    val = whole.splits["val"].model_copy(update={"shards": (shard,)})
    rewrite(packed_copy, splits={**whole.splits, "val": val})
    assert (key, "the file is missing") in places(check(packed_copy))
    with pytest.raises(DataError, match="is missing"):
        Reader(str(packed_copy), load_shardset(str(packed_copy)).splits["val"]).read(0, 0)
    with pytest.raises(DataError, match="no shard set at"):
        load_shardset(command.format(proof))
    assert not list(tmp_path.rglob("executed"))


@pytest.mark.parametrize(
    "url", ["http://h/a", "https://h/a", "gs://b/a", "hf://a/b", "ais://b/a", "ftp://h/a"]
)
def test_urls_are_paths_or_s3(url: str) -> None:
    with pytest.raises(DataUsageError, match="a data URL is a local path, file:// or s3://bucket/prefix"):
        open_store(url)
    with pytest.raises(DataUsageError):
        load_shardset(url)
