"""Adopting: tars of others are read where they lie, to webdataset's samples, or refused by member and byte."""

import io
import json
import os
import pickle
import re
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import webdataset
from foreign import WNIDS, Members, index, make_img2dataset, make_timm, photo, sample, write_tar
from typer.testing import CliRunner

from data_shards import tarwalk
from data_shards.augment import eval_image
from data_shards.class_lists import read_classes
from data_shards.cli import app
from data_shards.decode import decode
from data_shards.errors import DataError, DataUsageError
from data_shards.index import decode_index
from data_shards.loader import eval_batches
from data_shards.pack import PackOptions, pack
from data_shards.reader import Reader, read_jpeg
from data_shards.shardset import Adoption, ShardSet, load_shardset
from data_shards.store import open_store
from data_shards.tarindex import Rules, index_tar
from data_shards.verify import verify
from data_shards.view import View

VIEW = View(image_size=16)


def faults(url: Path | str, depth: str = "digests") -> list[tuple[str, int, str]]:
    return [(fault.file, fault.offset, fault.what) for fault in verify(str(url), 2, quiet, depth).faults]


def quiet(*_: object) -> None:
    pass


def delivered(url: Path | str, split: str) -> list[tuple[bytes, int]]:
    """(picture, label) of every sample of a split, by our reader."""
    chosen = load_shardset(str(url)).splits[split]
    reader = Reader(str(url), chosen)
    return [
        (sample.image, sample.label)
        for number, shard in enumerate(chosen.shards)
        for sample in (reader.read(number, row) for row in range(shard.samples))
    ]


def evaluated(url: Path | str, found: ShardSet, split: str) -> tuple[torch.Tensor, list[int]]:
    """The images and labels of a split, by our loader."""
    batches = list(
        eval_batches(url=str(url), shardset=found, split=split, view=VIEW, batch_size=5, rank=0, world=1)
    )
    return torch.cat([batch.images for batch in batches]), torch.cat([b.labels for b in batches]).tolist()


def by_webdataset(url: Path | str, found: ShardSet, split: str) -> list[dict[str, bytes]]:
    tars = [f"{url}/{shard.tar_key}" for shard in found.splits[split].shards]
    return list(webdataset.WebDataset(tars, shardshuffle=False))


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


# the layouts ----------------------------------------------------------------------------------------------


def test_timms_layout_is_read_to_the_samples_that_webdataset_reads(tmp_path: Path) -> None:
    before = contents(make_timm(tmp_path / "12k"))
    found = index(tmp_path / "12k").shardset
    assert {name: content for name, content in contents(tmp_path / "12k").items() if name in before} == before
    assert [shard.name for shard in found.splits["train"].shards] == [
        "imagenet12k-train-0000",
        "imagenet12k-train-0001",
    ]
    assert found.splits["train"].class_counts == (4, 4, 4)
    assert found.splits["val"].samples == 4
    assert found.packing == Adoption(label_field="", splits={}, left_out=())
    for split in ("train", "val"):
        theirs = by_webdataset(tmp_path / "12k", found, split)
        assert delivered(tmp_path / "12k", split) == [(one["jpg"], int(one["cls"])) for one in theirs]
        images, labels = evaluated(tmp_path / "12k", found, split)
        assert labels == [int(one["cls"]) for one in theirs]
        assert torch.equal(images, torch.stack([eval_image(decode(one["jpg"]), VIEW) for one in theirs]))
    assert faults(tmp_path / "12k") == faults(tmp_path / "12k", "pixels") == []


def test_img2datasets_layout_by_a_field_of_its_json(tmp_path: Path) -> None:
    found = index(make_img2dataset(tmp_path / "pairs"), label_field="wnid").shardset
    assert list(found.splits) == ["train"]
    theirs = by_webdataset(tmp_path / "pairs", found, "train")
    assert delivered(tmp_path / "pairs", "train") == [
        (one["jpg"], WNIDS.index(json.loads(one["json"])["wnid"])) for one in theirs
    ]
    assert faults(tmp_path / "pairs") == []


def test_our_own_tars_get_the_index_that_packing_made(packed_copy: Path) -> None:
    ours = load_shardset(str(packed_copy))
    before = {path.name: path.read_bytes() for path in (packed_copy / "index").iterdir()}
    shutil.rmtree(packed_copy / "index")
    (packed_copy / "shardset.json").unlink()
    found = index(packed_copy, classes=ours.classes).shardset
    assert {path.name: path.read_bytes() for path in (packed_copy / "index").iterdir()} == before
    assert found.splits == ours.splits


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_folders_and_odd_members(tmp_path: Path, form: int) -> None:
    folder = "pictures/" + "x" * 120
    members = [
        (f"{folder}/é-1.jpg", photo(1)),
        (f"{folder}/é-1.cls", b"1\n"),
        (f"{folder}/é-1.seg.png", b"no picture of a sample"),
        (f"{folder}/._é-1.jpg", b"hidden"),
        ("no-extension", b"passed over"),
        ("__meta__", b"webdataset passes it over"),
        (f"{folder}/2.CLS", b"2"),
        (f"{folder}/2.PNG", photo(2, "PNG")),
    ]
    with tarfile.open(tmp_path / "train-0.tar", "w", format=form) as tar:
        tar.addfile(directory := tarfile.TarInfo(folder))
        assert directory.size == 0
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1.5  # a fraction makes a pax header before every member
            tar.addfile(info, io.BytesIO(content))
    index(tmp_path)
    assert delivered(tmp_path, "train") == [(photo(1), 1), (photo(2, "PNG"), 2)]
    assert faults(tmp_path, "pixels") == []
    result = CliRunner().invoke(app, ["show", str(tmp_path), "--sheet", str(tmp_path / "sheet.png")])
    assert result.exit_code == 0, result.output


def test_bytes_between_members_may_be_anything(tmp_path: Path) -> None:
    make_img2dataset(tmp_path, (2,))
    tar = tmp_path / "00000.tar"
    raw = bytearray(tar.read_bytes())
    raw[512 + len(photo(0))] = 7  # the padding behind the first picture
    tar.write_bytes(bytes(raw) + b"what another program appended")
    index(tmp_path, label_field="wnid")
    assert faults(tmp_path) == []
    raw[512 + len(photo(0))] = 8
    tar.write_bytes(bytes(raw) + b"what another program appended")
    assert [(file, what[:16]) for file, _, what in faults(tmp_path)] == [("00000.tar", "the sha256 is wr")]
    assert len(delivered(tmp_path, "train")) == 2


# splits ---------------------------------------------------------------------------------------------------


def test_patterns_leave_out_what_they_do_not_name(tmp_path: Path) -> None:
    make_timm(tmp_path)
    found = index(tmp_path, splits={"train": "*-train-0001.tar", "test": "*-validation-*.tar"}).shardset
    assert {name: split.samples for name, split in found.splits.items()} == {"train": 5, "test": 4}
    assert found.packing == Adoption(
        label_field="",
        splits={"train": "*-train-0001.tar", "test": "*-validation-*.tar"},
        left_out=("imagenet12k-train-0000.tar",),
    )
    assert faults(tmp_path) == []
    shutil.copy(tmp_path / "imagenet12k-train-0000.tar", tmp_path / "imagenet12k-train-0002.tar")
    assert faults(tmp_path, "index") == [
        ("imagenet12k-train-0002.tar", 0, "the manifest does not name this file")
    ]


def test_without_info_the_names_tell(tmp_path: Path) -> None:
    (make_timm(tmp_path) / "_info.json").unlink()
    found = index(tmp_path).shardset
    assert {name: len(split.shards) for name, split in found.splits.items()} == {"train": 2, "val": 1}


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        ({"train": "*.tgz"}, r"train=\*\.tgz: none of 3 tars .* matches, imagenet12k-train-0000.tar is one"),
        ({"a": "*-train-*", "b": "*0000.tar"}, "imagenet12k-train-0000.tar matches more than one --split"),
    ],
)
def test_patterns_that_do_not_fit(tmp_path: Path, splits: dict[str, str], said: str) -> None:
    with pytest.raises(DataUsageError, match=said):
        index(make_timm(tmp_path), splits=splits)


def test_names_that_tell_of_some_tars_only_and_a_root_without_tars(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no \.tar lies under"):
        index(tmp_path)
    (make_timm(tmp_path) / "_info.json").unlink()
    shutil.copy(tmp_path / "imagenet12k-train-0000.tar", tmp_path / "more.tar")
    with pytest.raises(DataUsageError, match=r"more\.tar tells no split, others do"):
        index(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda info: info["splits"]["train"]["shard_lengths"].__setitem__(1, 6),
            "holds 5 samples .* says 6",
        ),
        (
            lambda info: info["splits"]["train"]["filenames"].__setitem__(1, "../x.tar"),
            "lists ../x.tar, which is",
        ),
        (lambda info: info.pop("splits"), r"not timm's list of splits \(KeyError"),
    ],
)
def test_an_info_that_says_otherwise(tmp_path: Path, change: Callable[[dict], None], said: str) -> None:
    info = json.loads((make_timm(tmp_path) / "_info.json").read_text())
    change(info)
    (tmp_path / "_info.json").write_text(json.dumps(info))
    with pytest.raises(DataError, match=said):
        index(tmp_path)
    assert not (tmp_path / "shardset.json").exists()


# what breaks the rules is named by tar, member and byte ---------------------------------------------------


def refused(root: Path, members: Members, **options) -> str:
    """What is said of a tar of these members."""
    write_tar(root / "train-0.tar", members)
    with pytest.raises(DataError) as caught:
        index(root, **options)
    assert f"{root}/train-0.tar, byte " in str(caught.value)
    assert not (root / "shardset.json").exists()
    return str(caught.value)


def padded(content: bytes) -> int:
    return 512 + -(-len(content) // 512) * 512


@pytest.mark.parametrize(
    ("second", "at", "said"),
    [
        (sample(2, 3), 1, r"0002\.cls says label 3: --classes has 0 to 2"),
        (sample(2, -1), 1, r"0002\.cls says label -1"),
        (
            sample(2, "n09999999"),
            1,
            r"0002\.cls says 'n09999999': no number, and no class of --classes, which has 3",
        ),
        (sample(2, ""), 1, r"0002\.cls says ''"),
        (sample(2)[:1], 0, r"0002\.jpg has no label beside it: no \.cls"),
        (sample(2)[1:], 0, r"0002\.cls: sample 0002 has no picture"),
        ([*sample(2)[:1], ("0002.png", b"")], 1, r"0002\.png: sample 0002 has two pictures"),
        ([*sample(2), ("0002.cls", b"2")], 2, r"0002\.cls comes twice"),
        ([*sample(2), *sample(1)], 2, r"0001\.jpg: another sample has the key 0001"),
        ([("n01443537_5.jpg", photo(2)), ("n01443537_5.cls", b"2")], 0, "lacks a WNID of the data, or is in"),
    ],
)
def test_a_sample_that_breaks_a_rule(tmp_path: Path, second: Members, at: int, said: str) -> None:
    first, second = sample(1), list(second)
    place = sum(padded(content) for _, content in [*first, *second[:at]]) + 512
    assert f"byte {place:,}: " in (told := refused(tmp_path, [*first, *second]))
    assert re.search(said, told), told


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (b"{", "0001.json is no JSON"),
        (b"[" * 100_000, "0001.json is no JSON"),
        (b"[1]", "has no field wnid (--label-field); it has no object"),
        (b'{"label": 1, "url": ""}', "has no field wnid (--label-field); it has label, url"),
        (b'{"wnid": true}', "wnid is True, neither number nor WNID"),
        (b'{"wnid": 1.0}', "wnid is 1.0, neither number nor WNID"),
        (b'{"wnid": null}', "wnid is None, neither"),
        (b'{"wnid": "n02"}', "says 'n02': no number, and no class"),
        (b'{"wnid": ' + b"9" * 4000 + b"}", "says label 9999999"),
    ],
)
def test_a_json_without_a_label(tmp_path: Path, told: bytes, said: str) -> None:
    assert said in refused(tmp_path, [("0001.jpg", photo(1)), ("0001.json", told)], label_field="wnid")


def test_a_class_list_that_lacks_a_wnid_of_the_data(tmp_path: Path) -> None:
    """A line is missing in the middle: every number has a class, and most of them a wrong one."""
    make_timm(tmp_path)
    with pytest.raises(
        DataError,
        match=r"n01443537_1\.jpg has label 1, which is n01484850 in --classes: the list lacks a WNID",
    ):
        index(tmp_path, classes=("n01440764", "n01484850", "n01491361"))
    with pytest.raises(DataError, match=r"train-0000\.tar, byte .*\.cls says label 2: --classes has 0 to 1"):
        index(tmp_path, classes=("n01440764", "n01443537"))
    with pytest.raises(
        DataError, match=r"says 'n01484850': no number, and no class of --classes, which has 2"
    ):
        index(make_img2dataset(tmp_path / "pairs"), label_field="wnid", classes=WNIDS[:2])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names 0 classes"),
        ("n1\n\nn2\n", "line 2 is empty"),
        ("n1 tench\nn2 goldfish\nn1 again\n", "line 3 names n1 again, as line 1"),
    ],
)
def test_a_class_list_that_is_none(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(DataUsageError, match=said):
        read_classes(tmp_path / "classes.txt")
    with pytest.raises(DataUsageError, match="cannot read --classes"):
        read_classes(tmp_path / "nowhere.txt")


def test_a_class_list_with_names_behind_the_wnids(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("n1 tench, Tinca tinca\nn2 goldfish\n\n")
    assert read_classes(tmp_path / "classes.txt") == ("n1", "n2")


def test_tars_without_a_sample(tmp_path: Path) -> None:
    write_tar(tmp_path / "train-0.tar", [])
    with pytest.raises(DataError, match=r"the tars under .* hold no sample at all"):
        index(tmp_path)
    write_tar(tmp_path / "train-1.tar", sample(1))
    assert index(tmp_path).shardset.splits["train"].class_counts == (0, 1, 0)
    assert faults(tmp_path) == []
    assert delivered(tmp_path, "train") == [(photo(1), 1)]


def test_a_key_in_two_tars_of_a_split(tmp_path: Path) -> None:
    write_tar(tmp_path / "train-0.tar", [*sample(1), *sample(2)])
    write_tar(tmp_path / "train-1.tar", [*sample(3), *sample(2)])
    write_tar(tmp_path / "val-0.tar", sample(2))  # another split may have it
    second = padded(photo(3)) + padded(b"1") + 512
    with pytest.raises(DataError, match=rf"same key: train-1\.tar, byte {second:,} has that of train-0\.tar"):
        index(tmp_path)
    assert not (tmp_path / "shardset.json").exists()


def test_a_tar_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    whole = (make_img2dataset(tmp_path / "whole", (3,)) / "00000.tar").read_bytes()
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512  # the first byte of the end mark
    rng = np.random.default_rng(0)
    for length in [0, 1, 512, end, *rng.integers(0, end, 25).tolist()]:
        (tmp_path / "cut").mkdir(exist_ok=True)
        (tmp_path / "cut" / "00000.tar").write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"00000\.tar, byte "):
            index(tmp_path / "cut", label_field="wnid")


# dirt and bombs -------------------------------------------------------------------------------------------


def bomb() -> bytes:
    """A small PNG that says 30,000 x 30,000."""
    huge = bytearray(photo(0, "PNG"))
    huge[16:24] = struct.pack(">II", 30_000, 30_000)
    huge[29:33] = struct.pack(">I", zlib.crc32(huge[12:29]))
    return bytes(huge)


def test_pictures_that_cannot_be_decoded_are_quarantined_by_name(tmp_path: Path) -> None:
    dirty = [("0007.png", bomb()), ("0007.cls", b"0"), ("0008.webp", b"RIFF\0\0\0\0WEBP"), ("0008.cls", b"1")]
    write_tar(tmp_path / "train-0.tar", [*sample(1), *dirty, *sample(2)])
    with pytest.raises(
        DataError,
        match=r"2 images of split 'train' cannot be decoded; the limit is 1 of 4\. .*0007.*--max-bad",
    ):
        index(tmp_path)
    result = index(tmp_path, max_bad=0.5)
    assert (result.quarantined, result.resumed) == (2, 2)
    lines = [json.loads(line) for line in (tmp_path / "quarantine.jsonl").read_text().splitlines()]
    assert [(line["split"], line["wnid"], line["file"]) for line in lines] == [
        ("train", WNIDS[0], "train-0.tar: 0007.png"),
        ("train", WNIDS[1], "train-0.tar: 0008.webp"),
    ]
    assert "30000 x 30000 is refused: the limit is 50 megapixels" in lines[0]["reason"]
    assert [label for _, label in delivered(tmp_path, "train")] == [1, 1]
    assert faults(tmp_path, "pixels") == []
    assert index(tmp_path, max_bad=0.5).quarantined == 2


def test_a_picture_whose_body_is_damaged_is_found_by_decoding_it(tmp_path: Path) -> None:
    """Its header is whole, so that it was adopted, and its file is as it was: dirt, not a fault."""
    cut = photo(7)[: len(photo(7)) // 3]
    write_tar(tmp_path / "train-0.tar", [*sample(1), ("0007.jpg", cut), ("0007.cls", b"2"), *sample(8)])
    index(tmp_path)
    found = verify(str(tmp_path), 2, quiet, "pixels")
    assert found.faults == ()
    assert [(line.split, line.wnid, line.file) for line in found.undecodable] == [
        ("train", WNIDS[2], "train-0.tar: 0007")
    ]
    result = CliRunner().invoke(app, ["verify", str(tmp_path), "--depth", "pixels"])
    assert result.exit_code == 0
    assert f"undecodable: {tmp_path}/train-0.tar: 0007 (train, {WNIDS[2]}): " in result.output
    assert "all as packed, 1 pictures that no decoder reads (no more than --max-bad allows)" in result.output
    assert CliRunner().invoke(app, ["verify", str(tmp_path)]).exit_code == 0
    sheet = CliRunner().invoke(app, ["show", str(tmp_path), "--sheet", str(tmp_path / "sheet.png")])
    assert sheet.exit_code == 0, sheet.output


def test_dirt_fails_above_the_budget_and_damage_always(tmp_path: Path) -> None:
    cut = photo(7)[: len(photo(7)) // 3]
    dirt = [
        (f"{number}.{end}", content) for number in (7, 8) for end, content in (("jpg", cut), ("cls", b"2"))
    ]
    write_tar(tmp_path / "train-0.tar", [*sample(1), *dirt])
    index(tmp_path)

    def verified(*more: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["verify", str(tmp_path), "--depth", "pixels", *more])
        return done.exit_code, done.output

    code, said = verified()
    assert code == 1
    assert "too many: 2 images of split 'train' cannot be decoded; the limit is 1 of 3. " in said
    assert "a higher --max-bad here and in train\n" in said
    assert "all as packed, 2 pictures that no decoder reads; 3 images" in said
    assert verified("--max-bad", "0.7")[0] == 0
    assert json.loads(verified("--max-bad", "0.7", "--json")[1])["excess"] == []
    assert json.loads(verified("--json")[1])["excess"] == [
        "2 images of split 'train' cannot be decoded; the limit is 1 of 3"
    ]
    tar = bytearray((tmp_path / "train-0.tar").read_bytes())
    tar[600] ^= 1
    (tmp_path / "train-0.tar").write_bytes(tar)
    assert verified("--max-bad", "1")[0] == 1


def test_a_class_has_a_limit_of_its_own(tmp_path: Path) -> None:
    """4 of 700 are in the budget of 0.6 %, and no class of 6 may lose so many: its cap is 3."""
    good, first = (
        photo(1),
        [("good0.jpg", photo(2)), ("good0.cls", b"0"), ("good1.jpg", photo(3)), ("good1.cls", b"0")],
    )
    rest = [(f"{n}.{end}", content) for n in range(694) for end, content in (("jpg", good), ("cls", b"1"))]
    dirt = [(f"bad{n}.{end}", content) for n in range(4) for end, content in (("jpg", b"?"), ("cls", b"0"))]
    write_tar(tmp_path / "train-0.tar", [*first, *rest, *dirt])
    said = rf"4 images of class {WNIDS[0]} .* the limit is 3 of its 6\. .*bad0\.jpg is one"
    with pytest.raises(DataError, match=said):
        index(tmp_path, max_bad=0.006)
    assert not (tmp_path / "shardset.json").exists()
    assert index(tmp_path, max_bad=0.007).quarantined == 4


@pytest.mark.parametrize("max_bad", [float("nan"), -1.0, 2.0])
def test_max_bad_is_a_share(tmp_path: Path, packed: str, max_bad: float) -> None:
    with pytest.raises(DataUsageError, match=f"--max-bad {max_bad}: .* from 0 to 1"):
        index(make_timm(tmp_path), max_bad=max_bad)
    with pytest.raises(DataUsageError, match=f"--max-bad {max_bad}: .* from 0 to 1"):
        verify(packed, 1, quiet, "index", max_bad)


def test_caps_of_bytes_and_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_shards.tarindex.MAX_PICTURE", 100)
    monkeypatch.setattr(tarwalk, "MAX_MEMBERS", 4)
    write_tar(tmp_path / "train-0.tar", [*sample(1), *sample(2)])
    store, rules = open_store(str(tmp_path)), Rules(classes=WNIDS, label_field="")
    found = index_tar(store, "train-0.tar", rules)
    assert [dirt.reason for dirt in found.dirt] == [
        f"{len(photo(number)):,} bytes, the limit is 100" for number in (1, 2)
    ]
    monkeypatch.setattr(tarwalk, "MAX_MEMBERS", 3)
    with pytest.raises(tarwalk.TarFaultError, match=r"more than 3 members: .*\. Split it"):
        index_tar(store, "train-0.tar", rules)
    monkeypatch.setattr(tarwalk, "MAX_MEMBERS", 4)
    monkeypatch.setattr("data_shards.tarindex.MAX_LABEL", 0)
    with pytest.raises(tarwalk.TarFaultError, match=r"0001\.cls has 1 bytes, the limit is 0"):
        index_tar(store, "train-0.tar", rules)


def test_a_link_among_the_samples_is_refused(tmp_path: Path) -> None:
    """Tars of folders with hard links have such members: their bytes are elsewhere, and would be lost in silence."""
    write_tar(tmp_path / "train-0.tar", sample(1))
    with tarfile.open(tmp_path / "train-0.tar", "a") as tar:
        link = tarfile.TarInfo("0002.jpg")
        link.type, link.linkname = tarfile.LNKTYPE, "0001.jpg"
        tar.addfile(link)
    with pytest.raises(
        DataError, match=r"train-0\.tar, byte [\d,]+: '0002\.jpg', a link to '0001\.jpg': refused"
    ):
        index(tmp_path)


def test_a_header_that_claims_terabytes_is_refused_unread(tmp_path: Path) -> None:
    info = tarfile.TarInfo("0001.jpg")
    info.size = 2**42
    (tmp_path / "train-0.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(DataError, match=f"0001.jpg has {2**42} bytes, the file ends before"):
        index(tmp_path)


class Payload:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    proof, root = tmp_path / "executed", tmp_path / "set"
    payload = pickle.dumps(Payload(proof))
    pickle.loads(payload)
    assert proof.exists()
    proof.unlink()
    suffixes = ("pyd", "pkl", "pickle", "npy", "pth", "pt", "json.pkl")
    root.mkdir()
    write_tar(root / "train-0.tar", [*sample(1), *((f"0001.{suffix}", payload) for suffix in suffixes)])
    index(root)
    assert faults(root, "pixels") == []
    assert delivered(root, "train") == [(photo(1), 1)]
    assert not proof.exists()


# the same bytes, however it went --------------------------------------------------------------------------


def test_one_worker_and_three_make_the_same_bytes(tmp_path: Path) -> None:
    for name, workers in (("one", 1), ("three", 3)):
        index(make_timm(tmp_path / name, (3, 2, 4, 1)), workers=workers)
    assert load_shardset(str(tmp_path / "one")).splits["train"].samples == 10
    assert contents(tmp_path / "one") == contents(tmp_path / "three")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "one").rglob("*")}
    assert index(tmp_path / "one").complete_before
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "one").rglob("*")} == before


KILLED = """
import os, signal, sys
from data_shards.adopt import AdoptOptions, adopt
ends = []
def on_shard(shards, of):
    ends.append(shards)
    if len(ends) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
adopt(sys.argv[1], tuple(sys.argv[2:]), AdoptOptions(name="theirs"), 1, 0.0, on_shard)
"""


def test_kill_9_then_the_same_command_continues(tmp_path: Path) -> None:
    index(make_timm(tmp_path / "whole", (3, 2, 4, 1)))
    make_timm(tmp_path / "killed", (3, 2, 4, 1))
    process = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "killed"), *WNIDS],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert not (tmp_path / "killed" / "shardset.json").exists()
    done = sorted((tmp_path / "killed" / "index").glob("*.json"))
    assert len(done) >= 2
    torn = next(path for path in done if "train" in path.name)
    torn.with_suffix(".keys").unlink()
    (tmp_path / "killed" / "index" / "imagenet12k-validation-00.json").write_text("{}")  # of something else
    assert index(tmp_path / "killed").resumed > 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_notes_of_another_class_list_are_not_taken_over(tmp_path: Path) -> None:
    make_img2dataset(tmp_path)
    with pytest.raises(DataError, match="no class of --classes"):
        index(tmp_path, label_field="wnid", classes=("n01443537", "n01440764"))
    index(tmp_path, label_field="wnid", on_shard=lambda *_: None)
    shutil.rmtree(tmp_path / "index")
    (tmp_path / "shardset.json").unlink()

    def stop(shards: int, of: int) -> None:
        if shards == 1 and of == 2 and any((tmp_path / "index").glob("*.json")):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index(tmp_path, label_field="wnid", classes=WNIDS[::-1], on_shard=stop)
    assert index(tmp_path, label_field="wnid").resumed == 0
    assert [label for _, label in delivered(tmp_path, "train")] == [number % 3 for number in range(11)]


def test_a_set_that_was_indexed_otherwise_is_left_alone(tmp_path: Path, packed: str, folders: Path) -> None:
    index(make_timm(tmp_path))
    before = contents(tmp_path)
    with pytest.raises(DataUsageError, match=r"indexed otherwise: label_field  there, label now"):
        index(tmp_path, label_field="label")
    with pytest.raises(DataUsageError, match="was packed by `raytrain data pack`"):
        index(packed)
    with pytest.raises(DataUsageError, match="indexed in place: choose another --out"):
        pack(folders, str(tmp_path), PackOptions(name="drawn"), 1, 0.0, quiet)
    assert contents(tmp_path) == before


def test_in_s3(tmp_path: Path, s3_url: str) -> None:
    for name, content in contents(make_timm(tmp_path / "local", (9,), 2)).items():
        open_store(s3_url).write(name, content)
    found = index(tmp_path / "local").shardset
    assert index(s3_url).shardset == found
    assert faults(s3_url) == faults(s3_url, "index") == []
    assert read_jpeg(s3_url, found, "train", 8) == photo(8)


def test_the_command(tmp_path: Path) -> None:
    make_timm(tmp_path / "12k")
    (tmp_path / "classes.txt").write_text("\n".join(WNIDS))
    arguments = ["index", str(tmp_path / "12k"), "--classes", str(tmp_path / "classes.txt"), "--workers", "1"]
    said = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert said.exit_code == 0, said.output
    assert "12k: 16 images, 3 classes, 3 shards, 0 quarantined" in said.stdout
    assert "train: 12 images in 2 shards\nval: 4 images in 1 shard\n" in said.stdout
    told = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert (told["images"], told["splits"], told["complete_before"]) == (16, {"train": 12, "val": 4}, True)
    assert told["fingerprint"] == load_shardset(str(tmp_path / "12k")).fingerprint
    with pytest.raises(DataUsageError, match="--split train: write NAME='PATTERN'"):
        CliRunner().invoke(app, [*arguments, "--split", "train"], catch_exceptions=False)
    records = decode_index((tmp_path / "12k" / "index" / "imagenet12k-validation-00.idx").read_bytes())
    assert records["label"].tolist() == [0, 1, 2, 0]
