"""Whether every node sees the data and the run's folder: on nodes that are this process, one with a disk of its own."""

import shutil
from random import Random

from data_shards.shardset import load_shardset
from raytrain.preflight import cache_bytes, checkpoint_disk, drawn, shards, storage
from tests.cluster.test_doctor import Here


def test_one_place_for_all_nodes_is_written_and_read_and_left_clean(tmp_path):
    assert [one.state for one in storage(Here(), str(tmp_path))] == ["ok"]
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_a_nodes_own_is_named(tmp_path):
    found = [one.line for one in storage(Here("b"), str(tmp_path))]
    assert [line.partition(";")[0] for line in found] == [
        f"storage (a): does not see in {tmp_path} what b wrote there",
        f"storage (b): does not see in {tmp_path} what a wrote there",
    ]


def test_a_silent_node_is_named(tmp_path):
    assert {(one.node, one.state) for one in storage(Here(silent=("b",)), str(tmp_path))} == {("b", "bad")}


def test_every_node_reads_files_drawn_for_it(small_set):
    found = shards(Here(), small_set, seed=0, whole=True)
    assert [one.state for one in found] == ["ok"]
    assert "6 files read on 2 nodes" in found[0].there
    held = load_shardset(small_set)
    draws = {str(drawn([(small_set, held)], Random(seed), whole=False)) for seed in range(20)}
    assert len(draws) > 5


def test_a_damaged_file_is_named(small_set, tmp_path):
    mine = shutil.copytree(small_set, tmp_path / "set")
    for file in (mine / "index").iterdir():
        file.write_bytes(b"?" * file.stat().st_size)
    found = shards(Here(), str(mine), seed=0, whole=False)
    assert {one.state for one in found} == {"bad"}
    assert "has not its digest" in found[0].line


def test_the_disks(small_set, tmp_path):
    assert cache_bytes(small_set, 2) == 0
    assert checkpoint_disk(2**50, "s3://bucket/run") == []
    assert checkpoint_disk(1, str(tmp_path / "run"))[0].state == "ok"
    full = checkpoint_disk(2**50, str(tmp_path / "run"))[0]
    assert (full.state, full.limit) == ("bad", "5242880.0 GiB: 3 kept, the best, one on its way")
