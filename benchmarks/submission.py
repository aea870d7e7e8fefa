"""What a user waits for the first step of `raytrain train` on this machine, and of `raytrain cluster submit`."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from conditions import spread, table, tell

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from ray_head import answering, ray_head
from sets import make_set

from data_shards.synth import SynthOptions

ROOT = Path(__file__).parent.parent
RAYTRAIN = str(Path(sys.executable).with_name("raytrain"))
REPEATS, WORKERS = 3, 2
POLL, PATIENCE = 0.02, 300.0  # seconds
ROOMS = ("cluster", "data_shards", "raytrain", "tuning")
TRAIN = [
    "train", "smoke_swin_22k", "--workers", str(WORKERS), "--set", "epochs=1", "--set", "global_batch=16",
    "--set", "model.depths=[2]",
]  # fmt: skip

WAYS = {
    "train": ("plan", "started", "workers", "ready", "step"),
    "submit": ("sent", "plan", "started", "workers", "ready", "step"),
}
PARTS = {
    "sent": "the command, and what it uploads",
    "plan": "imports and plan, of a job in its process there",
    "started": "Ray joined, or a new one up; checks",
    "workers": "workers up, with their imports",
    "ready": "network and engine made",
    "step": "first step, with its data",
}


def measure(scratch: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Both ways in turn, each to the end of a short run; one unmeasured round first."""
    data = make_set(scratch, SynthOptions(classes=8, images=16, val_images=2, size=32))
    package = scratch / "package"
    for room in ROOMS:
        shutil.copytree(ROOT / room, package / room, ignore=shutil.ignore_patterns("__pycache__"))
    raw: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with ray_head(scratch) as head:
        answering(head)
        for turn in range(-1, REPEATS):
            for way in WAYS:
                run = scratch / f"{way}{turn}"
                told = train(data, run) if way == "train" else submit(data, run, package, head)
                if turn >= 0:
                    raw[way].append(told)
                say(f"round {turn + 1} of {REPEATS}, {way}: {told['all']:.1f} s")
    medians = {
        way: {part: spread([row[part] for row in rows]) for part in rows[0]} for way, rows in raw.items()
    }
    size = sum(file.stat().st_size for file in package.rglob("*") if file.is_file())
    return {
        "settings": {"repeats": REPEATS, "workers": WORKERS, "package_bytes": size},
        "raw": raw,
        "medians": medians,
    }


def train(data: str, run: Path) -> dict[str, float]:
    """`raytrain train` with a Ray of its own."""
    log, began = run.with_suffix(".log"), time.time()
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with log.open("w") as file:
        command = [RAYTRAIN, *TRAIN, "--data", data, "--out", str(run)]
        child = subprocess.Popen(command, stdout=file, stderr=file, env=own)
    seen = follow(run, log, lambda: child.poll() is not None)
    if child.wait():
        raise RuntimeError(log.read_text())
    return parts(began, seen, WAYS["train"])


def submit(data: str, run: Path, package: Path, head: dict[str, str]) -> dict[str, float]:
    """`raytrain cluster submit` of the same, with a copy of the package to run there."""
    name = run.name.replace("-", "m")
    (package / "round.txt").write_text(name)  # a package that the head has is not sent again
    began = time.time()
    command = [RAYTRAIN, "cluster", "submit", "--name", name, "--working-dir", str(package)]
    command += ["--", *TRAIN, "--data", data, "--out", str(run)]
    subprocess.run(command, env=head, check=True, capture_output=True)
    sent = time.time()
    log = Path(head["HEAD_FOLDER"]) / "session_latest" / "logs" / f"job-driver-{name}.log"
    seen = {"sent": sent, **follow(run, log, lambda: False)}
    ended_well(head, name)
    return parts(began, seen, WAYS["submit"])


def ended_well(head: dict[str, str], name: str) -> None:
    """Wait for the job's end. RuntimeError where it failed."""
    code = (
        "import time; from cluster.jobs import Jobs, ENDED\n"
        f"jobs = Jobs({head['RAY_API_SERVER_ADDRESS']!r})\n"
        f"while (state := jobs.state({name!r})).status not in ENDED: time.sleep(0.2)\n"
        "print(state.status)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=head, check=True, capture_output=True, text=True)
    if done.stdout.strip() != "SUCCEEDED":
        raise RuntimeError(f"{name}: {done.stdout}")


def follow(run: Path, log: Path, ended: Callable[[], bool]) -> dict[str, float]:
    """When each sign of the run was first there, as seconds since 1970."""
    signs: dict[str, Callable[[], bool]] = {
        "plan": lambda: log.exists() and "  plan:" in log.read_text(),
        "workers": lambda: len(list(run.glob("workers/rank-*.json"))) == WORKERS,
        "ready": (run / "tensorboard").exists,
        "step": lambda: (run / "metrics.jsonl").exists() and (run / "metrics.jsonl").stat().st_size > 0,
    }
    seen: dict[str, float] = {}
    until = time.monotonic() + PATIENCE
    while len(seen) < len(signs):
        for name, there in signs.items():
            if name not in seen and there():
                seen[name] = time.time()
        if ended() or time.monotonic() > until:
            raise RuntimeError(f"no first step, but {seen}: {log.read_text() if log.exists() else 'no log'}")
        time.sleep(POLL)
    first = json.loads((run / "events.jsonl").read_text().splitlines()[0])
    return {**seen, "started": datetime.fromisoformat(first["time"]).timestamp()}


def parts(began: float, seen: dict[str, float], names: tuple[str, ...]) -> dict[str, float]:
    """Seconds from each sign to the next."""
    times = [began, *(seen[name] for name in names)]
    return {
        **{name: after - before for name, before, after in zip(names, times, times[1:], strict=False)},
        "all": times[-1] - began,
    }


def page(result: dict[str, Any]) -> str:
    """A row per part."""
    medians, settings = result["medians"], result["settings"]
    rows = [
        [told, *(tell(medians[way][part]) if part in medians[way] else "" for way in WAYS)]
        for part, told in {**PARTS, "all": "**all**"}.items()
    ]
    return f"""## From a command to the first step

{table(["seconds", "`raytrain train`", "`raytrain cluster submit` to a running Ray"], rows)}

How: {settings["workers"]} workers (DeepSpeed, gloo, one CPU each) of a small Swin, on one machine of as many
cores: `train` brings a Ray of its own up, `submit` sends {settings["package_bytes"] / 1e6:.1f} MB of package to a head
that asks for a token. {settings["repeats"]} rounds of both in turn after one unmeasured; median (lowest to highest).
Signs are looked for every {POLL * 1000:.0f} ms: the plan on the command's output, the run's event `started`, the
workers' files, the log's opening, the first row of metrics. The package is another one in each round, so that it is
sent.

Not shown: machines that start, an image that is pulled, a set in S3 whose first shards have to come."""
