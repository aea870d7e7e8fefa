"""The manifest names what wrote bytes, and no set is made by two versions of one tool."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import PIL
import pytest

from data_shards.errors import DataError, DataUsageError
from data_shards.pack import PackOptions, PackResult, pack
from data_shards.resize import Resize
from data_shards.shard_writer import ShardJob, write_shard
from data_shards.shardset import ShardSet, load_shardset
from data_shards.sources import Item
from data_shards.tools import differing, here
from tests.data_shards.archives import photo

needs_jpegtran = pytest.mark.skipif(
    shutil.which("jpegtran") is None, reason="jpegtran (Debian: libjpeg-turbo-progs) is not on PATH"
)
MARKERS = {"restart_markers": True}


def quiet(*_: object) -> None:
    pass


def stop(images: int, of: int) -> None:
    if images:
        raise KeyboardInterrupt


def run(src: Path, out: Path, on_shard: Callable[[int, int], None] = quiet, **options) -> PackResult:
    chosen = PackOptions(name="small", **{"samples_per_shard": 4, "val_fraction": 0, **options})
    return pack(src, str(out), chosen, 1, 0.0, on_shard)


@pytest.fixture
def jpegs(tmp_path: Path) -> Path:
    """Two classes of four JPEGs."""
    for number in range(8):
        file = tmp_path / "src" / ("cat" if number % 2 else "dog") / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(photo(number, (40, 32)))
    return tmp_path / "src"


@pytest.fixture
def other_jpegtran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function that puts a jpegtran first on PATH which says that it is another version."""
    program = tmp_path / "bin" / "jpegtran"
    program.parent.mkdir()
    said = 'echo "libjpeg-turbo version 9.8.7 (build 20990101)" >&2'
    program.write_text(
        f'#!/bin/sh\nif [ "$1" = -version ]; then {said}; else exec {shutil.which("jpegtran")} "$@"; fi\n'
    )
    program.chmod(0o755)
    return lambda: monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


def manifest(out: Path) -> dict:
    return json.loads((out / "shardset.json").read_text())


def test_jpegs_that_pass_unchanged_were_written_by_nobody(jpegs: Path, tmp_path: Path) -> None:
    run(jpegs, tmp_path / "out")
    assert "tools" not in manifest(tmp_path / "out")


@pytest.mark.parametrize("change", ["png", "resize"])
def test_pillow_is_named_where_it_coded_a_picture(jpegs: Path, tmp_path: Path, change: str) -> None:
    if change == "png":
        (jpegs / "cat" / "odd.jpg").write_bytes(photo(9, form="PNG"))
    found = run(jpegs, tmp_path / "out", **({"resize": 16} if change == "resize" else {})).shardset
    pillow = here(restart_markers=False)["Pillow"]
    assert pillow.startswith(f"{PIL.__version__} (libjpeg-turbo ")
    assert manifest(tmp_path / "out")["tools"] == found.tools == {"Pillow": pillow}


@needs_jpegtran
def test_jpegtran_is_named_as_it_names_itself(
    jpegs: Path, tmp_path: Path, other_jpegtran: Callable[[], None]
) -> None:
    one = run(jpegs, tmp_path / "one", **MARKERS).shardset
    assert one.tools.keys() == {"jpegtran"}
    other_jpegtran()
    other = run(jpegs, tmp_path / "other", **MARKERS).shardset
    assert other.tools == {"jpegtran": "libjpeg-turbo 9.8.7"}
    assert (one.splits, one.fingerprint) == (other.splits, other.fingerprint)  # equal bytes: the same set


def test_a_set_of_before_loads_and_keeps_its_fingerprint(packed_copy: Path) -> None:
    before = load_shardset(str(packed_copy))
    told = manifest(packed_copy)
    assert "tools" not in told
    later = ShardSet.model_validate({**told, "tools": {"Pillow": "1"}})
    assert later.tools == {"Pillow": "1"}
    assert later.fingerprint == before.fingerprint


@needs_jpegtran
def test_a_packing_is_not_continued_by_another_version(
    jpegs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other_jpegtran: Callable[[], None]
) -> None:
    path = os.environ["PATH"]
    with pytest.raises(KeyboardInterrupt):
        run(jpegs, tmp_path / "out", stop, **MARKERS)
    before = {file: file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file()}
    other_jpegtran()
    said = r"begun with other tools: train-0000\d was packed with jpegtran \S+ \S+ and not libjpeg-turbo 9\.8\.7, which"
    with pytest.raises(DataUsageError, match=said):
        run(jpegs, tmp_path / "out", **MARKERS)
    assert {file: file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file()} == before
    monkeypatch.setenv("PATH", path)
    assert run(jpegs, tmp_path / "out", **MARKERS).resumed >= 4


def test_a_new_pillow_that_wrote_nothing_may_continue(
    jpegs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(jpegs, tmp_path / "plain", stop)
    with pytest.raises(KeyboardInterrupt):
        run(jpegs, tmp_path / "resized", stop, resize=16)
    monkeypatch.setattr(PIL, "__version__", "99.0")
    assert run(jpegs, tmp_path / "plain").resumed >= 4
    with pytest.raises(DataUsageError, match=r"packed with Pillow .* and not 99\.0 \(libjpeg-turbo"):
        run(jpegs, tmp_path / "resized", resize=16)


def test_a_worker_of_another_version_stores_nothing(jpegs: Path, tmp_path: Path) -> None:
    """As on a cluster whose nodes are not alike."""
    size = (jpegs / "cat" / "1.jpg").stat().st_size
    job = ShardJob(
        root=jpegs, out=str(tmp_path / "out"), split="train", name="train-00000", classes=("cat",),
        items=[Item(file="cat/1.jpg", size=size, offset=None, label=0, key="cat/1")],
        tools={"Pillow": "1.0"}, resize=Resize(edge=16, squash=True),
    )  # fmt: skip
    with pytest.raises(
        DataError, match=r"train-00000 was packed with Pillow .* and not 1\.0, .*on all nodes"
    ):
        write_shard(job)
    assert not (tmp_path / "out").exists()


def test_mending_says_which_tool_is_another(
    jpegs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(jpegs, tmp_path / "out", resize=16)
    told = manifest(tmp_path / "out")
    told["tools"] = {"Pillow": "1.0"}
    told["splits"]["train"]["shards"][0]["sha256"] = "0" * 64  # what that version wrote
    (tmp_path / "out" / "shardset.json").write_text(json.dumps(told))
    (tmp_path / "out" / "shards" / "train-00000.tar").unlink()
    with pytest.raises(
        DataError, match=r"cannot be mended: .*packed with Pillow 1\.0 and not .*which is here\. Install"
    ):
        run(jpegs, tmp_path / "out", resize=16)


def test_only_what_both_name_can_differ() -> None:
    assert differing({"a": "1", "b": "2"}, {"b": "2", "c": "3"}) == ""
    assert differing({"a": "1", "b": "2"}, {"a": "1", "b": "3"}) == "b 2 and not 3"
