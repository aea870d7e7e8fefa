"""Showing a set, and the room's commands as a user meets them."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from data_shards.cli import app
from data_shards.errors import DataError, DataUsageError
from data_shards.shardset import Packing, Shard, ShardSet, Split, load_shardset
from data_shards.show import describe


def call(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_counts_and_histogram(packed: str) -> None:
    shown = call("show", packed)
    found = load_shardset(packed)
    assert f"drawn: 6 classes, fingerprint {found.fingerprint[:16]}" in shown
    assert [line.split()[:3] for line in shown.splitlines() if line.split()[:1] in (["train"], ["val"])] == [
        ["train", "120", "4"],
        ["val", "30", "1"],
    ]
    assert [line.split()[1:3] for line in shown.splitlines() if "█" in line] == [
        [wnid, "20"] for wnid in found.classes
    ]


def test_json(packed: str) -> None:
    shown = json.loads(call("show", packed, "--json"))
    assert shown["splits"]["train"] == {"samples": 120, "shards": 4, "class_counts": [20] * 6}
    assert shown["fingerprint"] == load_shardset(packed).fingerprint


def test_a_long_class_list_shows_both_ends() -> None:
    counts = tuple(range(1, 1001))
    shard = Shard(name="a", samples=sum(counts), bytes=1, sha256="", index_sha256="")
    many = ShardSet(
        name="many",
        classes=tuple(f"n{n:08d}" for n in range(1000)),
        splits={"train": Split(shards=(shard,), class_counts=counts)},
        packing=Packing(seed=0, samples_per_shard=1),
    )
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(describe(many, "train"))
    shown = console.export_text()
    assert "976 more" in shown
    assert shown.index("n00000999") < shown.index("more") < shown.index("n00000000")
    assert shown.count("n0") == 24


@pytest.mark.parametrize(("file", "offset"), [("index/train-00000.idx", 5), ("shards/train-00000.tar", 2000)])
def test_the_sheet_shows_nothing_that_was_damaged(
    packed_copy: Path, tmp_path: Path, file: str, offset: int
) -> None:
    raw = bytearray((packed_copy / file).read_bytes())
    raw[offset] ^= 1
    (packed_copy / file).write_bytes(raw)
    with pytest.raises(DataError, match=f"{file} is damaged"):
        call("show", packed_copy, "--sheet", tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()


def test_the_sheet_has_a_tile_for_each_picture(packed: str, tmp_path: Path) -> None:
    call("show", packed, "--split", "val", "--sheet", tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (12 * 112, 3 * 126)  # 30 pictures: 12 + 12 + 6
        assert sheet.crop((0, 252, 12 * 112, 378)).getbbox() is not None
        last_row = sheet.convert("L").point(lambda value: 255 - value)
        assert last_row.crop((6 * 112, 252, 12 * 112, 378)).getbbox() is None
        assert last_row.crop((5 * 112, 252, 6 * 112, 378)).getbbox() is not None


def test_what_is_not_there(packed: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no shard set at .*raytrain data pack"):
        call("show", tmp_path)
    (tmp_path / "images" / "train").mkdir(parents=True)
    with pytest.raises(DataError, match=r"with `raytrain data pack \S+/images --out SHARDS`"):
        call("show", tmp_path / "images")
    with pytest.raises(DataError, match="no split 'test'; it has train, val"):
        call("show", packed, "--split", "test")
    with pytest.raises(DataError, match="cannot write"):
        call("show", packed, "--sheet", tmp_path / "no" / "such" / "sheet.png")


def test_show_needs_neither_torch_nor_ray(packed: str, tmp_path: Path) -> None:
    code = (
        "import sys; from data_shards.cli import app\n"
        "light = {'torch', 'ray', 'webdataset', 'numpy', 'PIL', 'pydantic'} & set(sys.modules)\n"
        "assert not light, light\n"
        f"app(['show', {packed!r}, '--sheet', {str(tmp_path / 'a.png')!r}], standalone_mode=False)\n"
        "heavy = {'torch', 'ray', 'webdataset', 'boto3'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    env = {"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr


def test_the_whole_way_by_commands(tmp_path: Path) -> None:
    drawn, out = tmp_path / "drawn", tmp_path / "set"
    made = json.loads(
        call("synth", drawn, "--classes", 2, "--images", 3, "--val-images", 1, "--size", 16, "--json")
    )
    assert (made["images"], made["made"]) == (8, 8)
    packed = json.loads(call("pack", drawn, "--out", out, "--workers", 1, "--json"))
    assert (packed["images"], packed["shards"], packed["quarantined"]) == (8, 2, 0)
    assert packed["fingerprint"] == load_shardset(str(out)).fingerprint
    said = call("pack", drawn, "--out", out)
    assert "complete already" in said
    assert "8 images, 2 classes, 2 shards" in said
    assert "all as packed; 8 images, 2 shards" in call("verify", out)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["synth", "out", "--label-noise", "2"],
            "--label-noise 2.0: input should be less than or equal to 1",
        ),
        (["synth", "out", "--size", "8"], "--size 8: input should be greater than or equal to 16"),
        (["synth", "out", "--classes", "500"], "--classes 500: the 22k space has 2 to 240"),
        (["pack", "src", "--out", "out", "--samples-per-shard", "0"], "--samples-per-shard 0"),
        (["pack", "src", "--out", "out", "--val-fraction", "1"], "--val-fraction 1.0: input should be less"),
    ],
)
def test_options_out_of_bounds_name_the_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataUsageError) as caught:
        call(*arguments)
    assert said in str(caught.value)
    assert caught.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []
