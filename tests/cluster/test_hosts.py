"""Several hosts for real: a run loses one, goes on with the others, and grows again when it comes back."""

import json
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
    "epochs=12", "global_batch=12", "precision=fp32", "evaluate_epochs=6", "checkpoint_epochs=0.5",
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


def train(cluster: Hosts, shards: str, run: Path) -> subprocess.Popen[bytes]:
    command = ["train", "smoke_swin_22k", "--data", shards, "--out", str(run), "--workers", "3"]
    for setting in SETTINGS:
        command += ["--set", setting]
    log = (run.parent / "said").open("wb")
    return cluster.popen(
        0, str(BIN / "python"), "-m", "raytrain", *command, "--address", cluster.environment["RAY_ADDRESS"],
        stdout=log, stderr=log,
    )  # fmt: skip


def test_a_host_is_lost_and_comes_back(cluster: Hosts, shards: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    driver = train(cluster, shards, run)
    wait_for(run, 30)
    cluster.kill(2)
    wait_for(run, 60)
    cluster.up(2)
    assert driver.wait(PATIENCE) == 0, (tmp_path / "said").read_text()
    said = (tmp_path / "said").read_text()
    print(said)
    audited = subprocess.run(
        [sys.executable, "-m", "raytrain", "data", "audit", str(run)],
        capture_output=True,
        text=True,
        check=False,
    )
    print(audited.stdout)
    assert audited.returncode == 0, audited.stdout + audited.stderr
