"""Several hosts for real, which share no disk but what the cluster starts from: data and run are in S3."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hosts import Hosts, hosts, why_not

from data_shards.pack import PackOptions, pack
from data_shards.store import NotFoundError, Store, open_store
from data_shards.synth import SynthOptions, synth

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
SETTINGS = [
    "epochs=8", "global_batch=12", "precision=fp32", "evaluate_epochs=8", "checkpoint_epochs=0.5",
    "model.depths=[2]", "regularization.mixup=0", "regularization.cutmix=0",
]  # fmt: skip
PATIENCE = 300.0
RUN, JOBS = "s3://hosts/run", "http://127.0.0.1:8265"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """A head without CPUs, and three hosts with one each."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    with hosts(tmp_path_factory.mktemp("hosts"), [0, 1, 1, 1]) as made:
        yield made


@pytest.fixture(scope="module")
def shards(cluster: Hosts, tmp_path_factory: pytest.TempPathFactory) -> str:
    images = tmp_path_factory.mktemp("data") / "images"
    options = SynthOptions(classes=8, images=36, val_images=3, size=40)
    synth(images, options, 2, lambda *_: None)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cluster.environment.items():
            if name.startswith("AWS_"):
                patch.setenv(name, value)
        pack(images, "s3://hosts/set", PackOptions(name="small"), 2, 1e-3, lambda *_: None)
    return "s3://hosts/set"


@pytest.fixture
def store(cluster: Hosts, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The run, as this process reads it."""
    for name, value in cluster.environment.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    return open_store(RUN)


def newest_step(store: Store) -> int:
    try:
        lines = store.read("newest_steps.jsonl").splitlines()
    except NotFoundError:
        return 0
    return int(json.loads(lines[-1])["step"]) if lines else 0


def until(true: Callable[[], bool], what: Callable[[], str]) -> None:
    late = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < late, what()
        time.sleep(0.2)


class Submitted:
    """A job of the cluster's, sent from its head; `log` is what it has said until now, as Ray keeps it."""

    def __init__(self, cluster: Hosts, name: str, shards: str) -> None:
        submit = ["cluster", "submit", "--address", JOBS, "--name", name, "--", *train(shards)]
        sent = cluster.raytrain(0, *submit, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said = sent.communicate(timeout=PATIENCE)[0].decode()
        assert (sent.returncode, said.split("\n")[0]) == (0, f"submitted {name}"), said
        self.log = Path(cluster.rays) / "session_latest" / "logs" / f"job-driver-{name}.log"

    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else "nothing"

    def says(self, words: str) -> str:
        """Wait for them; returns what follows."""
        until(lambda: words in self.said(), lambda: f"{self.said()}\nnever said: {words}")
        return self.said().partition(words)[2]


def train(shards: str) -> list[str]:
    command = ["train", "smoke_swin_22k", "--data", shards, "--out", RUN, "--workers", "3"]
    for setting in SETTINGS:
        command += ["--set", setting]
    return command


def findings(cluster: Hosts, *words: str) -> dict[tuple[str, str], dict[str, str]]:
    """What `raytrain cluster doctor` finds, asked on the head: by check and node."""
    asked = cluster.raytrain(0, "cluster", "doctor", "--json", *words, stdout=subprocess.PIPE)
    said = json.loads(asked.communicate(timeout=PATIENCE)[0])
    assert asked.returncode == 0, [one for one in said if one["state"] == "bad"]
    return {(one["check"], one["node"]): one for one in said}


def test_the_doctor_asks_every_host(cluster: Hosts, shards: str) -> None:
    found = findings(cluster, "--data", shards, "--out", "s3://hosts/elsewhere")
    there = {check: one["there"] for (check, node), one in found.items() if node == "cluster"}
    assert there["room"] == "3 workers of 1 CPU on 4 nodes"
    assert there["reach"] == "12 of 12 pairs connect"
    assert there["gloo"] == "a sum over 4 nodes"
    assert there["storage"] == "s3://hosts/elsewhere, written and read on 4 nodes"
    assert there["shards"].endswith("12 files read on 4 nodes")
    for check in ("clock", "open files", "shared memory", "disk for the cache"):
        assert {node for name, node in found if name == check} == {"host0", "host1", "host2", "host3"}
    guarded = findings(cluster, "--security")
    for host in ("host0", "host1", "host2", "host3"):
        assert guarded["call without token", host]["state"] == "ok"
        assert guarded["token file", host]["there"].endswith("/token, 0600")


def test_a_run_outlives_a_host_its_driver_and_a_stopped_worker(
    cluster: Hosts, shards: str, store: Store
) -> None:
    """Data and run in S3, each start a job of the cluster's, by token."""
    first = Submitted(cluster, "first", shards)
    until(lambda: newest_step(store) >= 20, first.said)
    driver = json.loads(store.read("driver.json"))
    second = cluster.raytrain(1, *train(shards), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    cluster.kill(2)
    first.says("; restarting from the newest checkpoint\n")
    said = second.communicate(timeout=PATIENCE)[0].decode()
    assert f"\nerror: another raytrain drives {RUN} (process {driver['pid']} on host0)" in said
    assert second.returncode == 1
    os.kill(driver["pid"], signal.SIGKILL)

    again = Submitted(cluster, "again", shards)
    again.says("\nstarting 2 workers of 3: the hosts that are left are host1, host3, going on after step ")
    cluster.up(2)
    whole = "\nhosts came or went: stopped after a step, with a checkpoint\nstarting 3 workers, going on after step "
    resumed = int(again.says(whole).split("\n")[0])
    until(lambda: newest_step(store) >= resumed + 20, again.said)
    stopped = json.loads(store.read("workers/rank-1.json"))
    os.kill(stopped["pid"], signal.SIGSTOP)
    began = time.monotonic()
    again.says(f"\nworker 1 (process {stopped['pid']} on {stopped['host']}) was lost after step ")
    print(f"found after {time.monotonic() - began:.0f} s")
    assert b"train_step" in store.read("workers/rank-0.stacks"), "where the others waited"
    again.says("\n  epoch   8.0  step    192  top-1")
    again.says("\nreport: ")
    until(lambda: "driver.json" not in store.list(""), again.said)
    assert not Path(f"/proc/{stopped['pid']}").exists()
    assert "raylet" not in again.said(), "Ray's own words about a lost host are twenty lines"
    assert "workers: 3, then 2, then 3\n" in audit(cluster)
    rows = [json.loads(line) for line in store.read("metrics.jsonl").splitlines()]
    assert {row["images"] for row in rows} == {12}, "the global batch stays"


def audit(cluster: Hosts) -> str:
    """What `raytrain data audit` proves of the run, on a host that had no part in it."""
    audited = cluster.raytrain(0, "data", "audit", RUN, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = audited.communicate(timeout=PATIENCE)[0].decode()
    assert audited.returncode == 0, said
    return said
