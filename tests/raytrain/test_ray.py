"""Real Ray, real DeepSpeed, real kills: whatever happens to workers and drivers, the run ends in the same weights."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from cluster.connect import connected
from cluster.errors import ClusterError
from data_shards.pack import PackOptions, pack
from data_shards.synth import SynthOptions, synth
from raytrain.audit import audit_run
from raytrain.cli.options import make_plan
from raytrain.driver import environment, run_job
from raytrain.errors import RunError
from raytrain.job import Job
from raytrain.manifest import key_of
from raytrain.runlog import EVENTS, METRICS, read_rows

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1500)]
RECIPE = "smoke_swin_22k"
SETTINGS = [
    "epochs=3", "global_batch=16", "precision=bf16", "evaluate_epochs=3", "checkpoint_epochs=0.25",
    "model.depths=[2]", "regularization.mixup=0.2", "regularization.cutmix=1.0", "model.drop_path=0.2",
]  # fmt: skip
STEPS = 60
PATIENCE = 600  # seconds for something to happen on a busy machine


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> str:
    root = tmp_path_factory.mktemp("data")
    options = SynthOptions(classes=8, images=40, val_images=5, size=40)
    synth(root / "images", options, 2, lambda *_: None)
    pack(root / "images", str(root / "set"), PackOptions(name="small"), 2, 1e-3, lambda *_: None)
    return str(root / "set")


def plan(shards: str, *settings: str, workers: int = 2):
    return make_plan(
        RECIPE, shards, fleet="local", workers=workers, settings=[*SETTINGS, *settings], init=None,
        engine="deepspeed",
    )  # fmt: skip


def weights(run: Path, step: int = STEPS) -> dict[str, str]:
    """The sha256 of the final weights and of the optimizer's moments."""
    files = json.loads((run / key_of(step) / "MANIFEST.json").read_text())["files"]
    return {name: files[name]["sha256"] for name in ("model.pt", "moments.pt")}


def wait_for_step(run: Path, step: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while not any(row["step"] >= step for row in read_rows(run / METRICS)):
        assert time.monotonic() < deadline, f"step {step} never came"
        time.sleep(0.02)


def kill_worker(run: Path, rank: int, step: int) -> None:
    wait_for_step(run, step)
    os.kill(json.loads((run / "workers" / f"rank-{rank}.json").read_text())["pid"], signal.SIGKILL)


@pytest.fixture(scope="module")
def ray_here(shards):
    with connected(None, environment(plan(shards))):
        yield


@pytest.fixture(scope="module")
def undisturbed(ray_here, shards, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("run") / "undisturbed"
    run_job(Job(plan=plan(shards), data_url=shards, run=str(run)), say=print)
    return run


def test_a_killed_worker_and_a_killed_controller_cost_time_but_no_weight(
    undisturbed: Path, shards: str, tmp_path: Path
) -> None:
    run, said = tmp_path / "killed", []

    def kill() -> None:
        kill_worker(run, 1, 13)
        wait_for_step(run, 43)
        os.kill(controller(), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    run_job(Job(plan=plan(shards), data_url=shards, run=str(run)), say=said.append)
    killer.join()
    assert weights(run) == weights(undisturbed)
    events = [row for row in read_rows(run / EVENTS) if row["event"] in ("worker_lost", "resumed")]
    assert [row["event"] for row in events] == ["worker_lost", "resumed"] * 2
    for lost, resumed in (events[:2], events[2:]):
        assert lost["step"] - resumed["step"] <= 5, "no more than one checkpoint interval is done again"
    assert [line.split(" after step")[0] for line in said[::2]] == [
        "starting 2 workers",
        "starting 2 workers, going on",
        "starting 2 workers, going on",
    ]
    assert re.match(
        r"worker (1 \(process \d+ on \S+\) was lost|0 \(.*\) failed) after step \d+ \(", said[1]
    ), said[1]
    assert said[3].startswith("the controller was lost after step ")
    assert [row["step"] for row in read_rows(run / METRICS)] == list(range(1, STEPS + 1))
    same = [row["loss"] for row in read_rows(undisturbed / METRICS)]
    assert [row["loss"] for row in read_rows(run / METRICS)] == same
    audit, _ = audit_run(run, lambda *_: None)
    assert (audit.proven, audit.samples) == (True, STEPS * 16)


def controller() -> int:
    """The process of this run's Ray Train controller."""
    children = psutil.Process().children(recursive=True)
    (found,) = [child.pid for child in children if child.name().startswith("ray::Controller")]
    return found


def test_a_damaged_newest_checkpoint_is_walked_past(undisturbed: Path, shards: str, tmp_path: Path) -> None:
    run, said = tmp_path / "damaged", []
    short = plan(shards, "epochs=1.5")
    run_job(Job(plan=short, data_url=shards, run=str(run)), say=print)
    expected = weights(run, 30)
    for name in (key_of(30), key_of(25)):
        file = run / name / "model.pt"
        raw = bytearray(file.read_bytes())
        raw[len(raw) // 2] ^= 1
        file.write_bytes(raw)
    run_job(Job(plan=short, data_url=shards, run=str(run)), say=said.append)
    assert [key_of(30) in said[0], key_of(25) in said[1]] == [True, True]
    assert weights(run, 30) == expected


def test_more_workers_than_the_cluster_has_fail_at_once(ray_here, shards: str, tmp_path: Path) -> None:
    big = plan(shards, "global_batch=128", workers=64)
    with pytest.raises(ClusterError, match=r"64 workers of 1 CPU each do not fit.*room for .*--workers"):
        run_job(Job(plan=big, data_url=shards, run=str(tmp_path / "big")), say=print)


def test_a_step_that_always_fails_stops_the_run(ray_here, shards: str, tmp_path: Path) -> None:
    run = tmp_path / "poison"
    job = Job(
        plan=plan(shards, "optimizer.lr=1e30", "optimizer.clip_norm=null"), data_url=shards, run=str(run)
    )
    with pytest.raises(RunError, match=r"not finite.*--set optimizer.lr"):
        run_job(job, say=print)
    assert not [row for row in read_rows(run / EVENTS) if row["event"] == "worker_lost"], "no retry can help"


def test_the_same_command_continues_after_ctrl_c_and_after_the_drivers_death(
    undisturbed: Path, shards: str, tmp_path: Path
) -> None:
    run = tmp_path / "driver"
    command = [
        sys.executable, "-m", "raytrain", "train", RECIPE, "--data", shards, "--out", str(run), "--workers", "2",
    ]  # fmt: skip
    for setting in SETTINGS:
        command += ["--set", setting]

    def begin() -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )

    polite = begin()
    wait_for_step(run, 8)
    os.killpg(polite.pid, signal.SIGINT)  # as a terminal does: to all processes of the command
    output = polite.communicate(timeout=PATIENCE)[0]
    assert polite.returncode == 75, output
    assert "stopped on request after step" in output
    assert "Traceback" not in output
    assert "SIGINT: stopping after this step, with a checkpoint; Ctrl-C again stops at once" in output
    reached = read_rows(run / METRICS)[-1]["step"]
    assert (run / key_of(reached) / "MANIFEST.json").exists()

    rude = begin()
    wait_for_step(run, reached + 12)
    rude.kill()
    rude.communicate(timeout=PATIENCE)
    assert not (run / key_of(STEPS)).exists()

    last = begin()
    output = last.communicate(timeout=PATIENCE)[0]
    assert last.returncode == 0, output
    assert "report.html" in output
    assert weights(run) == weights(undisturbed)
    assert audit_run(run, lambda *_: None)[0].proven
