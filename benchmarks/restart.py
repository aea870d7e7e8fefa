"""What a lost worker costs: kill -9 one of two Ray workers in mid-run, and see the run come back; stock Ray too."""

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
from stock import train_stock

from data_shards.synth import SynthOptions

SETTINGS = [
    "epochs=3", "global_batch=16", "precision=bf16", "evaluate_epochs=3", "checkpoint_epochs=0.25",
    "model.depths=[2]", "regularization.mixup=0.2", "regularization.cutmix=1.0", "model.drop_path=0.2",
]  # fmt: skip
STEPS, INTERVAL, ROUNDS = 60, 5, 4
KILLS = ((1, 13), (0, 23), (1, 33), (0, 43), (1, 53))
"""(rank, step) of a run: each in the middle of a checkpoint interval."""

OURS, STOCK = "raytrain", "stock Ray Train"
POLL, PATIENCE = 0.01, 180.0  # seconds


def measure(scratch: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """One undisturbed run; then by rounds the same with KILLS, raytrain's and stock, each on a Ray of its own."""
    from cluster.connect import connected
    from raytrain.cli.options import make_plan
    from raytrain.driver import environment, run_job
    from raytrain.job import Job
    from raytrain.runlog import METRICS, read_rows

    shards = make_set(scratch, SynthOptions(classes=8, images=40, val_images=5, size=40))
    plan = make_plan(
        "smoke_swin_22k", shards, fleet="local", workers=2, settings=SETTINGS, init=None,
        engine="deepspeed", zero=1,
    )  # fmt: skip
    assert (plan.lengths.steps, plan.lengths.checkpoint_every) == (STEPS, INTERVAL)
    alike = {key: value for key, value in environment(plan).items() if not key.startswith("RAY_TRAIN")}
    ways: dict[str, tuple[dict[str, str], Callable[[Job], None]]] = {
        OURS: (environment(plan), lambda job: run_job(job, say=lambda _: None)),
        STOCK: (alike, lambda job: train_stock(job, INTERVAL)),
    }
    raw: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    starts: dict[str, list[float]] = {way: [] for way in ways}
    calm = Job(plan=plan, data_url=shards, run=str(scratch / "undisturbed"))
    with connected(None, environment(plan)):
        run_job(calm, say=say)
    for number in range(ROUNDS):
        for way in list(ways)[:: -1 if number % 2 else 1]:
            around, train = ways[way]
            job = calm.model_copy(update={"run": str(scratch / f"{way[0]}{number}")})
            Path(job.run).mkdir()
            with connected(None, around), ThreadPoolExecutor(1) as beside:
                watched = beside.submit(watch, Path(job.run), way, say)
                train(job)
                first, kills = watched.result()
            starts[way].append(first)
            raw[way] += kills
    rows = [row["seconds"] for row in read_rows(Path(calm.run) / METRICS)]
    last = [scratch / f"{OURS[0]}{number}" for number in range(ROUNDS)]
    return {
        "settings": {"recipe": "smoke_swin_22k", "set": SETTINGS, "steps": STEPS, "interval": INTERVAL},
        "raw": {"kills": raw, "starts": starts},
        "medians": {
            "step_seconds": statistics.median(rows),
            "ways": {way: summary(raw[way], starts[way]) for way in ways},
        },
        "same_final_weights": all(digests(run) == digests(Path(calm.run)) for run in last),
    }


def summary(kills: list[dict[str, Any]], starts: list[float]) -> dict[str, Any]:
    """Over all kills: seconds by what happened, and the steps that were done again."""
    seconds = {key: spread([kill["seconds"][key] for kill in kills]) for key in kills[0]["seconds"]}
    again = spread([float(kill["steps_again"]) for kill in kills])
    return {"seconds": seconds, "steps_again": again, "first_step": spread(starts)}


def watch(run: Path, way: str, say: Callable[[str], None]) -> tuple[float, list[dict[str, Any]]]:
    """Seconds to the first step, from when the cluster is there; and all KILLS."""
    began = time.monotonic()
    first = wait(lambda: newest(run) > 0) - began
    say(f"{way}: first step after {first:.1f} s")
    return first, [kill(run, *place, lambda line: say(f"{way}: {line}")) for place in KILLS]


def newest(run: Path) -> int:
    """The last step that is logged."""
    from raytrain.runlog import METRICS, read_rows

    return max((row["step"] for row in read_rows(run / METRICS)), default=0)


def kill(run: Path, rank: int, step: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Kill a rank once `step` is logged; what was seen afterwards, in seconds from the kill."""
    from raytrain.runlog import EVENTS, METRICS, pid_file, read_rows

    def seen(event: str) -> list[dict[str, Any]]:
        return [row for row in read_rows(run / EVENTS) if row["event"] == event]

    def logged(number: int) -> dict[str, Any] | None:
        return next((row for row in read_rows(run / METRICS) if row["step"] == number), None)

    wait(lambda: newest(run) >= step)
    losses, resumes, first = len(seen("worker_lost")), len(seen("resumed")), pid_file(run, 0)
    pid, there = json.loads(pid_file(run, rank).read_text())["pid"], first.read_text()
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    noticed = wait(lambda: len(seen("worker_lost")) > losses) - began
    reached = newest(run)
    tries = {row["step"]: row for row in read_rows(run / METRICS)}
    started = wait(lambda: first.read_text() not in ("", there)) - began
    resumed = wait(lambda: len(seen("resumed")) > resumes) - began
    checkpoint = seen("resumed")[-1]["step"]
    # the rows after the checkpoint are dropped, and a step's second row tells another time
    repeated = wait(lambda: logged(checkpoint + 1) not in (None, tries.get(checkpoint + 1))) - began
    new = wait(lambda: newest(run) > reached) - began
    say(
        f"killed rank {rank} at step {reached}: {reached - checkpoint} steps again, first new after {new:.1f} s"
    )
    return {
        "rank": rank, "reached": reached, "checkpoint": checkpoint, "steps_again": reached - checkpoint,
        "seconds": {
            "noticed": noticed, "started": started, "resumed": resumed, "first_repeated": repeated, "first_new": new,
        },
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
    """Both ways, side by side."""
    medians, settings = result["medians"], result["settings"]
    rows = [
        [way, tell(told["first_step"], 1), tell(told["steps_again"], 0)]
        + [
            tell(told["seconds"][key], 1)
            for key in ("noticed", "started", "resumed", "first_repeated", "first_new")
        ]
        for way, told in medians["ways"].items()
    ]
    header = ["restarts by", "first step of a run, s", "steps done again", "loss noticed, s"]
    header += ["workers there, s", "checkpoint loaded, s", "first repeated step, s", "first new step, s"]
    same = "are" if result["same_final_weights"] else "are NOT"
    kills = len(result["raw"]["kills"][OURS])
    return f"""## A killed worker

{table(header, rows)}

The final weights and optimizer moments of raytrain's killed runs {same} those of the undisturbed run, byte for byte
(sha256). A checkpoint is written every {settings["interval"]} steps of {medians["step_seconds"]:.3f} s.

How: two Ray workers (DeepSpeed ZeRO-1, gloo, one CPU each) train a small Swin for {settings["steps"]} steps, with
raytrain's own step in both rows. `kill -9` hits one in the middle of a checkpoint interval, {kills} times in each way,
{len(KILLS)} in a run, the runs in turn. Stock Ray Train is as its guide has it: `report` with a checkpoint,
`get_checkpoint` at the start, any number of failures, its own defaults. The runs' logs are read every
{POLL * 1000:.0f} ms, and times count from the kill; a first step from when a Ray is there. A new step has a number that
was never logged before.

Between a loss that is noticed and workers that are there lie the end of the old group and the start of a new one,
whose processes import Ray and torch anew; until the checkpoint is loaded, DeepSpeed too.

Not shown: the loss of a whole machine (Ray's heartbeat decides how soon that is noticed), and the reading of
checkpoints of gigabytes."""
