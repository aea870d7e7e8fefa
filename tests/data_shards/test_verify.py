"""Verification: whatever is done to one byte of a set, it is found, and the file and place are named."""

import random
import zlib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from data_shards.cli import app
from data_shards.index import decode_index, encode_index
from data_shards.reader import read_jpeg
from data_shards.shardset import Shard, Split, load_shardset
from data_shards.show import contact_sheet
from data_shards.tarcheck import inspect_tar, rebuild_index
from data_shards.verify import Verification, judge, verify


def check(root: Path | str) -> Verification:
    return verify(str(root), 2, lambda *_: None)


@pytest.fixture(scope="module")
def shard(packed: str) -> tuple[Shard, bytes, bytes]:
    """One shard of the set, its tar and its index."""
    chosen = load_shardset(packed).splits["val"].shards[0]
    tar = Path(packed, "shards", f"{chosen.name}.tar").read_bytes()
    return chosen, tar, Path(packed, "index", f"{chosen.name}.idx").read_bytes()


def test_a_whole_set_has_no_faults(packed_copy: Path) -> None:
    verification = check(packed_copy)
    assert verification.faults == ()
    assert (verification.shards, verification.samples) == (5, 150)
    assert verification.fingerprint == load_shardset(str(packed_copy)).fingerprint
    assert Verification.model_validate_json((packed_copy / "verify.json").read_bytes()) == verification


def test_every_flipped_bit_of_a_shard_is_found_near_its_place(shard: tuple[Shard, bytes, bytes]) -> None:
    chosen, tar, index = shard
    rng = random.Random(0)
    placed = 0
    for _ in range(300):
        at, damaged = rng.randrange(len(tar)), bytearray(tar)
        damaged[at] ^= 1 << rng.randrange(8)
        faults = judge(chosen, bytes(damaged), index).faults
        assert faults
        assert {fault.file for fault in faults} == {f"shards/{chosen.name}.tar"}
        assert min(fault.offset for fault in faults) <= at
        placed += any(0 <= at - fault.offset < 16384 for fault in faults)
    assert placed >= 290


def test_every_flipped_bit_of_an_index_is_found_at_its_byte(shard: tuple[Shard, bytes, bytes]) -> None:
    chosen, tar, index = shard
    for bit in range(0, len(index) * 8, 29):
        damaged = bytearray(index)
        damaged[bit // 8] ^= 1 << bit % 8
        faults = judge(chosen, tar, bytes(damaged)).faults
        assert [(fault.file, fault.offset) for fault in faults] == [(f"index/{chosen.name}.idx", bit // 8)]


def test_every_truncation_is_found(shard: tuple[Shard, bytes, bytes]) -> None:
    chosen, tar, index = shard
    rng = random.Random(1)
    for length in [0, 1, 511, 512, 513, len(tar) - 1, *(rng.randrange(len(tar)) for _ in range(100))]:
        faults = judge(chosen, tar[:length], index).faults
        assert length in {fault.offset for fault in faults}
        assert f"{length} bytes long" in " ".join(fault.what for fault in faults)
        assert judge(chosen, tar, index[: length % len(index)]).faults


def test_every_zeroed_block_and_every_appended_byte_is_found(shard: tuple[Shard, bytes, bytes]) -> None:
    chosen, tar, index = shard
    for block in range(0, len(tar), 512):
        zeroed = tar[:block] + bytes(512) + tar[block + 512 :]
        if zeroed != tar:
            faults = judge(chosen, zeroed, index).faults
            assert any(0 <= block - fault.offset < 16384 for fault in faults)
    for more in (b"\0", b"x", tar):
        faults = judge(chosen, tar + more, index).faults
        assert len(tar) in {fault.offset for fault in faults}
    assert judge(chosen, b"<html>503</html>", index).faults
    assert judge(chosen, tar, index + b"\0").faults


def test_damage_of_both_files_names_both(shard: tuple[Shard, bytes, bytes]) -> None:
    chosen, tar, index = shard
    damaged = tar[:5000] + bytes([tar[5000] ^ 4]) + tar[5001:]
    files = {fault.file for fault in judge(chosen, damaged, index[:-18]).faults}
    assert files == {f"shards/{chosen.name}.tar", f"index/{chosen.name}.idx"}


def test_the_index_can_be_rebuilt_from_the_tar(shard: tuple[Shard, bytes, bytes]) -> None:
    _, tar, index = shard
    assert encode_index(rebuild_index(tar)) == index
    assert inspect_tar(tar, decode_index(index))[0] == []


def test_missing_and_foreign_files(packed_copy: Path) -> None:
    (packed_copy / "shards" / "train-00001.tar").unlink()
    (packed_copy / "index" / "train-00002.idx").unlink()
    (packed_copy / "shards" / "train-00099.tar").write_bytes(b"older packing")
    assert {(fault.file, fault.what) for fault in check(packed_copy).faults} == {
        ("shards/train-00001.tar", "the file is missing"),
        ("index/train-00002.idx", "the file is missing"),
        ("shards/train-00099.tar", "the manifest does not name this file"),
    }


def test_shards_that_changed_places(packed_copy: Path) -> None:
    one, two = (packed_copy / "shards" / f"train-0000{n}.tar" for n in (0, 1))
    swap = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(swap)
    files = {fault.file for fault in check(packed_copy).faults}
    assert files == {"shards/train-00000.tar", "shards/train-00001.tar"}


def rewrite(root: Path, **changes: object) -> None:
    manifest = load_shardset(str(root)).model_copy(update=changes)
    (root / "shardset.json").write_text(manifest.model_dump_json())


def test_a_manifest_with_fewer_classes_or_other_counts(packed_copy: Path) -> None:
    whole = load_shardset(str(packed_copy))
    rewrite(packed_copy, classes=whole.classes[:5])
    found = check(packed_copy).faults
    assert len([fault for fault in found if fault.what == "label 5 of 5 classes"]) == 25
    assert all(fault.offset % 512 == 0 and fault.offset > 0 for fault in found if "label 5 of" in fault.what)
    train = whole.splits["train"].model_copy(update={"class_counts": (20, 20, 20, 20, 19, 21)})
    rewrite(packed_copy, classes=whole.classes, splits={**whole.splits, "train": train})
    assert [fault.what for fault in check(packed_copy).faults] == [
        "split train has 20 samples of label 4, the manifest says 19",
        "split train has 20 samples of label 5, the manifest says 21",
    ]


def test_a_shard_that_comes_twice_under_two_names(packed_copy: Path) -> None:
    whole = load_shardset(str(packed_copy))
    first = whole.splits["val"].shards[0]
    twin = first.model_copy(update={"name": "val-00001"})
    for folder, suffix in (("shards", "tar"), ("index", "idx")):
        raw = (packed_copy / folder / f"val-00000.{suffix}").read_bytes()
        (packed_copy / folder / f"val-00001.{suffix}").write_bytes(raw)
    both = Split(shards=(first, twin), class_counts=(10,) * 6)
    rewrite(packed_copy, splits={**whole.splits, "val": both})
    found = check(packed_copy).faults
    assert len(found) == 30
    assert {fault.file for fault in found} == {"shards/val-00001.tar"}
    offsets = decode_index((packed_copy / "index" / "val-00000.idx").read_bytes())["block"].astype(int) * 512
    assert {fault.offset for fault in found} == set(offsets.tolist())
    assert "sample 0 has the key of sample 0 of val-00000" in {fault.what for fault in found}


def test_a_tar_that_lies_elsewhere_is_verified_read_and_shown(packed_copy: Path) -> None:
    """A manifest says where a tar is only where it is not shards/NAME.tar: older ones keep their fingerprint."""
    whole = load_shardset(str(packed_copy))
    assert '"tar":' not in whole.model_dump_json()
    (only,) = whole.splits["val"].shards
    (packed_copy / "theirs").mkdir()
    (packed_copy / "shards" / "val-00000.tar").rename(packed_copy / "theirs" / "val.tar")
    moved = only.model_copy(update={"tar": "theirs/val.tar"})
    there = whole.splits["val"].model_copy(update={"shards": (moved,)})
    rewrite(packed_copy, splits={**whole.splits, "val": there})
    found = load_shardset(str(packed_copy))
    assert found.splits["val"].shards[0].tar_key == "theirs/val.tar"
    assert check(packed_copy).faults == ()
    first = decode_index((packed_copy / "index" / "val-00000.idx").read_bytes())[0]
    image = read_jpeg(str(packed_copy), found, "val", 0)
    assert zlib.crc32(image) == first["crc32"]
    contact_sheet(str(packed_copy), found, "val")


def test_command_names_the_byte_and_exits_1(packed_copy: Path) -> None:
    victim = packed_copy / "shards" / "train-00002.tar"
    raw = bytearray(victim.read_bytes())
    records = decode_index((packed_copy / "index" / "train-00002.idx").read_bytes())
    start = int(records["block"][7]) * 512
    raw[start + 100] ^= 1
    victim.write_bytes(raw)
    result = CliRunner().invoke(app, ["verify", str(packed_copy), "--workers", "1"])
    assert result.exit_code == 1
    assert (
        f"shards/train-00002.tar, byte {start:,}: sample 7: these {records['size'][7]} bytes" in result.output
    )
    again = CliRunner().invoke(app, ["verify", str(packed_copy), "--json"])
    assert again.exit_code == 1
    assert [fault.offset for fault in Verification.model_validate_json(again.stdout).faults] == [start]
