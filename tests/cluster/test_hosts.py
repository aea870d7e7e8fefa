"""Several hosts for real: a run loses one, goes on with the others, and grows again when it comes back."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hosts import Hosts, hosts, why_not
from ray_head import BIN

from data_shards.pack import PackOptions, pack
from data_shards.synth import SynthOptions, synth

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
SETTINGS = [
    "epochs=8", "global_batch=12", "precision=fp32", "evaluate_epochs=8", "checkpoint_epochs=0.5",
    "model.depths=[2]", "regularization.mixup=0", "regularization.cutmix=0",
]  # fmt: skip
PATIENCE = 300.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """A head without CPUs, and three hosts with one each."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    with hosts(tmp_path_factory.mktemp("hosts"), [0, 1, 1, 1]) as made:
        yield made


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("data")
    options = SynthOptions(classes=8, images=36, val_images=3, size=40)
    synth(root / "images", options, 2, lambda *_: None)
    pack(root / "images", str(root / "set"), PackOptions(name="small"), 2, 1e-3, lambda *_: None)
    return str(root / "set")


def rows(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def wait_for(run: Path, step: int) -> None:
    until = time.monotonic() + PATIENCE
    while not any(int(str(row["step"])) >= step for row in rows(run / "metrics.jsonl")):
        assert time.monotonic() < until, f"step {step} never came"
        time.sleep(0.1)


def until_said(file: Path, words: str) -> None:
    until = time.monotonic() + PATIENCE
    while words not in (said := file.read_text()):
        assert time.monotonic() < until, said
        time.sleep(0.2)


def train(cluster: Hosts, shards: str, run: Path) -> subprocess.Popen[bytes]:
    command = ["train", "smoke_swin_22k", "--data", shards, "--out", str(run), "--workers", "3"]
    for setting in SETTINGS:
        command += ["--set", setting]
    log = (run.parent / "said").open("wb")
    return cluster.popen(
        0, str(BIN / "python"), "-m", "raytrain", *command, "--address", cluster.environment["RAY_ADDRESS"],
        stdout=log, stderr=log,
    )  # fmt: skip


def audit(run: Path) -> str:
    """What `raytrain data audit` proves of the run."""
    command = [sys.executable, "-m", "raytrain", "data", "audit", str(run)]
    audited = subprocess.run(command, capture_output=True, text=True, check=False)
    assert audited.returncode == 0, audited.stdout + audited.stderr
    return audited.stdout


def test_a_host_is_lost_and_comes_back_and_a_worker_is_stopped(
    cluster: Hosts, shards: str, tmp_path: Path
) -> None:
    run, said = tmp_path / "run", tmp_path / "said"
    driver = train(cluster, shards, run)
    wait_for(run, 20)
    cluster.kill(2)
    until_said(
        said, "\nstarting 2 workers of 3: the hosts that are left are host1, host3, going on after step "
    )
    cluster.up(2)
    whole = "\nhosts came or went: stopped after a step, with a checkpoint\nstarting 3 workers, going on after step "
    until_said(said, whole)
    wait_for(run, int(said.read_text().partition(whole)[2].split("\n")[0]) + 20)
    stopped = json.loads((run / "workers" / "rank-1.json").read_text())
    os.kill(stopped["pid"], signal.SIGSTOP)
    began = time.monotonic()
    until_said(said, f"\nworker 1 (process {stopped['pid']} on {stopped['host']}) was lost after step ")
    print(f"found after {time.monotonic() - began:.0f} s")
    assert "train_step" in (run / "workers" / "rank-0.stacks").read_text(), "where the others waited"
    assert driver.wait(PATIENCE) == 0, said.read_text()
    assert not Path(f"/proc/{stopped['pid']}").exists()
    assert "raylet" not in said.read_text(), "Ray's own words about a lost host are twenty lines"
    assert "workers: 3, then 2, then 3\n" in audit(run)
    assert {row["images"] for row in rows(run / "metrics.jsonl")} == {12}, "the global batch stays"
