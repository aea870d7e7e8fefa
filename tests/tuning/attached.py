"""A sweep of real trainings by the command line, on a cluster that it joins, and what is left of it there.

As a program it waits until the cluster that RAY_ADDRESS names is empty, and prints what is left: in a process of its
own, since one that has been connected without a token cannot be with one.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

TOKEN = "RAY_AUTH_TOKEN_PATH"
OURS = "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S"
"""A variable that raytrain sets for every process of a job, and that all which these start inherit."""

RAYS_OWN = "ray::_AutoscalingCoordinatorActor"
"""One per cluster, which Ray Train starts if there is none and leaves for the next."""

WORKER = "ray::RayTrainWorker"
"""What a training's worker calls itself, from the moment that it has its place."""

QUICK = (
    "epochs=2", "global_batch=16", "evaluate_epochs=9", "checkpoint_epochs=9", "model.depths=[2]", "model.embed_dim=16",
    "model.head_dim=8", "precision=fp32",
)  # fmt: skip


def start(
    env: dict[str, str], data: str, out: Path, trials: int, workers: int = 1
) -> subprocess.Popen[bytes]:
    """`raytrain tune` with so many workers a trial; what it prints goes to a file beside `out`."""
    words = f"tune smoke_swin_22k --trials {trials} --workers {workers} --address {env['RAY_ADDRESS']}"
    words += " --strategy random --space optimizer.lr=log:1e-3:1e-2"
    sets = [word for setting in QUICK for word in ("--set", setting)]
    line = [sys.executable, "-m", "raytrain", *words.split(), "--data", data, "--out", str(out), *sets]
    with out.with_suffix(".log").open("a") as log:
        return subprocess.Popen(line, env=env, stdout=log, stderr=log)


def rows(out: Path, kind: str) -> list[dict[str, Any]]:
    """The whole rows of that kind in the sweep's ledger."""
    file = out / "ledger.jsonl"
    lines = file.read_bytes().splitlines(keepends=True) if file.exists() else []
    return [row for line in lines if line.endswith(b"\n") and (row := json.loads(line))["kind"] == kind]


def left(env: dict[str, str], seconds: float = 90) -> dict[str, Any]:
    """What is left after so long: placement `groups`, `actors`, `processes` by their ids, and after how many `seconds`
    there was nothing more.
    """
    asked = subprocess.run(
        [sys.executable, __file__, str(seconds)], env=env, capture_output=True, text=True, check=True
    )
    return dict(json.loads(asked.stdout.splitlines()[-1]))


def processes(token: str) -> dict[int, str]:
    """The processes of raytrain's jobs on the cluster with this token, whoever is their parent now."""
    found = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            held, line = process.environ(), " ".join(process.cmdline()).strip()
            if held.get(TOKEN) == token and OURS in held and line != RAYS_OWN:
                found[process.pid] = line
    return found


def kill_driver(run: Path) -> None:
    """Kill -9 of the process that holds a run's lock: the driver of a rung."""
    lock = (run / ".lock").stat().st_ino
    held = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    os.kill(next(int(words[4]) for words in held if words[5].endswith(f":{lock}")), signal.SIGKILL)


def main(seconds: float) -> None:
    """Look twice a second."""
    import ray
    from ray._private.state import actors
    from ray.util import placement_group_table

    ray.init(log_to_driver=False, logging_level="ERROR")
    began = time.monotonic()
    while True:
        groups = [name for name, group in placement_group_table().items() if group["state"] != "REMOVED"]
        alive = [actor["ActorClassName"] for actor in actors().values() if actor["State"] != "DEAD"]
        there = [name for name in alive if name not in RAYS_OWN]
        held, took = processes(os.environ[TOKEN]), time.monotonic() - began
        if not (groups or there or held) or took > seconds:
            break
        time.sleep(0.5)
    print(json.dumps({"groups": groups, "actors": there, "processes": held, "seconds": took}))


if __name__ == "__main__":
    main(float(sys.argv[1]))
