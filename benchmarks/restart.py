"""What a lost worker costs: kill -9 one of two Ray workers in mid-run, three times, and watch the run come back."""

import json
import os
import signal
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from conditions import spread, table, tell
from sets import make_set

from data_shards.synth import SynthOptions

SETTINGS = [
    "epochs=3", "global_batch=16", "precision=bf16", "evaluate_epochs=3", "checkpoint_epochs=0.25",
    "model.depths=[2]", "regularization.mixup=0.2", "regularization.cutmix=1.0", "model.drop_path=0.2",
]  # fmt: skip
STEPS, INTERVAL = 60, 5
KILLS = ((1, 13), (0, 28), (1, 43))
"""(rank, step): each in the middle of a checkpoint interval."""

POLL, PATIENCE = 0.01, 180.0  # seconds


def measure(scratch: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """One undisturbed run, then the same with KILLS, on one local Ray cluster."""
    from cluster.connect import connected
    from raytrain.cli.options import make_plan
    from raytrain.driver import environment, run_job
    from raytrain.runlog import METRICS, read_rows
    from raytrain.worker import Job

    shards = make_set(scratch, SynthOptions(classes=8, images=40, val_images=5, size=40))
    plan = make_plan(
        "smoke_swin_22k", shards, fleet="local", workers=2, settings=SETTINGS, init=None,
        engine="deepspeed", zero=1,
    )  # fmt: skip
    assert (plan.lengths.steps, plan.lengths.checkpoint_every) == (STEPS, INTERVAL)

    def train(name: str) -> tuple[Path, float]:
        run, began = scratch / name, time.monotonic()
        run_job(Job(plan=plan, data_url=shards, run=str(run)), say=say)
        return run, time.monotonic() - began

    with connected(None, environment(plan)):
        undisturbed, calm_seconds = train("undisturbed")
        say(f"undisturbed: {calm_seconds:.0f} s")
        with ThreadPoolExecutor(1) as beside:
            watched = beside.submit(lambda: [kill(scratch / "killed", *place, say) for place in KILLS])
            killed, killed_seconds = train("killed")
            kills = watched.result()
    step_seconds = statistics.median(row["seconds"] for row in read_rows(undisturbed / METRICS))
    return {
        "settings": {"recipe": "smoke_swin_22k", "set": SETTINGS, "steps": STEPS, "interval": INTERVAL},
        "raw": {"kills": kills},
        "medians": {
            "seconds": {key: spread([kill["seconds"][key] for kill in kills]) for key in kills[0]["seconds"]},
            "step_seconds": step_seconds,
            "undisturbed_run_seconds": calm_seconds,
            "killed_run_seconds": killed_seconds,
        },
        "same_final_weights": digests(killed) == digests(undisturbed),
    }


def kill(run: Path, rank: int, step: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Kill a rank once `step` is logged; what was seen afterwards, in seconds from the kill."""
    from raytrain.runlog import EVENTS, METRICS, pid_file, read_rows

    def event(name: str) -> list[dict[str, Any]]:
        return [row for row in read_rows(run / EVENTS) if row["event"] == name]

    def logged(number: int) -> dict[str, Any] | None:
        return next((row for row in read_rows(run / METRICS) if row["step"] == number), None)

    wait(lambda: logged(step) is not None)
    earlier = len(event("worker_lost"))
    pid, began = json.loads(pid_file(run, rank).read_text())["pid"], time.monotonic()
    os.kill(pid, signal.SIGKILL)
    noticed = wait(lambda: len(event("worker_lost")) > earlier) - began
    reached = event("worker_lost")[-1]["step"]
    checkpoint = reached // INTERVAL * INTERVAL
    first_try = logged(checkpoint + 1)
    resumed = wait(lambda: len(event("resumed")) > earlier) - began
    assert event("resumed")[-1]["step"] == checkpoint < reached
    # the driver drops the rows after the checkpoint, and the step's second row tells another time
    repeated = wait(lambda: logged(checkpoint + 1) not in (None, first_try)) - began
    new = wait(lambda: logged(reached + 1) is not None) - began
    say(f"killed rank {rank} at step {reached}: first new step after {new:.1f} s")
    return {
        "rank": rank, "reached": reached, "checkpoint": checkpoint, "steps_again": reached - checkpoint,
        "seconds": {"noticed": noticed, "resumed": resumed, "first_repeated": repeated, "first_new": new},
    }  # fmt: skip


def wait(happened: Callable[[], bool]) -> float:
    """Poll until it happened; returns the monotonic time then."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing happened for {PATIENCE:.0f} s")
        time.sleep(POLL)
    return time.monotonic()


def digests(run: Path) -> dict[str, str]:
    """The sha256 of the final weights and of the optimizer's moments."""
    from raytrain.manifest import MANIFEST, key_of

    files = json.loads((run / key_of(STEPS) / MANIFEST).read_text())["files"]
    return {name: files[name]["sha256"] for name in ("model.pt", "moments.pt")}


def page(result: dict[str, Any]) -> str:
    """The table of kills."""
    told, medians = ("noticed", "resumed", "first_repeated", "first_new"), result["medians"]
    rows = [
        [f"rank {kill['rank']}", f"{kill['reached']}", f"{kill['checkpoint']}", f"{kill['steps_again']}"]
        + [f"{kill['seconds'][key]:.1f}" for key in told]
        for kill in result["raw"]["kills"]
    ]
    rows.append(["median (range)", "", "", ""] + [tell(medians["seconds"][key], 1) for key in told])
    interval, step = result["settings"]["interval"], medians["step_seconds"]
    header = ["killed", "at step", "newest checkpoint", "steps done again", "loss noticed, s"]
    header += ["checkpoint loaded, s", "first repeated step, s", "first new step, s"]
    same = "are" if result["same_final_weights"] else "are NOT"
    return f"""## A killed worker

{table(header, rows)}

The final weights and optimizer moments {same} those of the undisturbed run, byte for byte (sha256).
A checkpoint is written every {interval} steps ({interval * step:.2f} s of steps at {step:.3f} s each).
The undisturbed run took {medians["undisturbed_run_seconds"]:.0f} s, the one with {len(rows) - 1} kills
{medians["killed_run_seconds"]:.0f} s, both with the start of their workers.

How: two Ray workers (DeepSpeed ZeRO-1, gloo, one CPU each) train a small Swin for {result["settings"]["steps"]}
steps. `kill -9` hits one in the middle of a checkpoint interval. The run's own logs are read every {POLL * 1000:.0f}
ms, and times count from the kill. A new step has a number that was never logged before.

Not shown: the loss of a whole machine (Ray's heartbeat decides how soon that is noticed), and the reading of
checkpoints of gigabytes. Between "loss noticed" and "checkpoint loaded" lie the end of the old worker group and the
start of a new one, whose processes import torch, Ray and DeepSpeed anew."""
