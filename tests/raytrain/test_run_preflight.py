"""Whether every node sees the data and the run's folder: on nodes that are this process, one with a disk of its own."""

import shutil
from contextlib import contextmanager, nullcontext
from random import Random
from types import SimpleNamespace

import pytest
from plans import tiny_plan

from cluster.doctor import probe
from cluster.doctor.nodes import Answers
from cluster.errors import ClusterError
from data_shards.shardset import load_shardset
from raytrain import preflight
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


def job_on(monkeypatch, place, data, **versions):
    """A job of a cluster with two nodes, of which b has these versions."""
    said = {**probe.look(), "cache_free": 2**40}
    other = {**said, "versions": {**said["versions"], **versions}}

    @contextmanager
    def nodes():
        yield Looked({"a": said, "b": other})

    monkeypatch.setattr(preflight, "all_nodes", nodes)
    return SimpleNamespace(plan=tiny_plan(), place=str(place), data_url=data)


class Looked(Here):
    """Nodes that say of themselves what they are told to, and nothing where that is None."""

    def __init__(self, facts):
        super().__init__()
        self.facts = facts

    def only(self, *nodes):
        self.nodes = list(nodes)
        return self

    def ask(self, function, arguments=None, seconds=0.0):
        if function is not probe.look:
            return super().ask(function, arguments, seconds)
        silent = {name: "no answer in 60 s" for name, said in self.facts.items() if said is None}
        return Answers(said={name: said for name, said in self.facts.items() if said}, silent=silent)


def test_a_run_is_refused_where_a_node_has_another_raytrain(monkeypatch, small_set, tmp_path):
    job = job_on(monkeypatch, tmp_path, small_set, raytrain="0123456789ab", ray="2.57.0")
    with pytest.raises(
        ClusterError, match=r"(?s)version of raytrain \(b\): 0123456789ab; it has to be .*, as here"
    ):
        preflight.before_run(job, begun=False, say=print)
    with pytest.raises(ClusterError, match=r"version of ray \(b\): 2.57.0; it has to be 2.58.0"):
        preflight.before_run(job, begun=True, say=print)


def test_a_run_that_has_begun_goes_on_without_a_node_that_is_silent(monkeypatch, small_set, tmp_path):
    job = job_on(monkeypatch, tmp_path, small_set)
    preflight.before_run(job, begun=False, say=print)
    silent = Looked({"a": {**probe.look(), "cache_free": 2**40}, "b": None})
    monkeypatch.setattr(preflight, "all_nodes", lambda: nullcontext(silent))
    with pytest.raises(ClusterError, match=r"answer \(b\): no answer in 60 s"):
        preflight.before_run(job, begun=False, say=print)
    preflight.before_run(job, begun=True, say=print)
