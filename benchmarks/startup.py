"""How long a light command keeps its user waiting, beside the interpreter alone and the libraries it avoids."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conditions import spread, table, tell
from sets import make_set

from data_shards.synth import SynthOptions

REPEATS = 7
RAYTRAIN = str(Path(sys.executable).with_name("raytrain"))


def measure(scratch: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Seconds of each command: one unmeasured round to fill the page cache, then REPEATS rounds of all in turn."""
    shards = make_set(scratch, SynthOptions(classes=8, images=16, val_images=2, size=32))
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "raytrain --help": [RAYTRAIN, "--help"],
        "raytrain recipes": [RAYTRAIN, "recipes"],
        "raytrain plan smoke_swin_22k --data SET": [RAYTRAIN, "plan", "smoke_swin_22k", "--data", shards],
        'python -c "import torch, ray.train"': [sys.executable, "-c", "import torch, ray.train"],
    }
    raw: dict[str, dict[str, list[float]]] = {name: {"wall": [], "cpu": []} for name in commands}
    for turn in range(-1, REPEATS):
        for name, command in commands.items():
            wall, cpu = timed(command)
            if turn >= 0:
                raw[name]["wall"].append(wall)
                raw[name]["cpu"].append(cpu)
        say(f"round {turn + 1} of {REPEATS}")
    medians = {
        name: {clock: spread(seconds) for clock, seconds in clocks.items()} for name, clocks in raw.items()
    }
    return {"settings": {"repeats": REPEATS}, "raw": raw, "medians": medians}


def timed(command: list[str]) -> tuple[float, float]:
    """(wall seconds, CPU seconds) of a command that must succeed."""
    began = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    wall = time.perf_counter() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{command} ended with exit code {child.returncode}")
    return wall, used.ru_utime + used.ru_stime


def page(result: dict[str, Any]) -> str:
    """The table of commands."""
    rows = [
        [f"`{name}`", tell(clocks["wall"]), tell(clocks["cpu"])] for name, clocks in result["medians"].items()
    ]
    return f"""## Start-up of light commands

{table(["command", "wall s, median (range)", "CPU s, median (range)"], rows)}

How: {result["settings"]["repeats"]} rounds, every command once per round, from start to exit, after one unmeasured
round. The first row is the interpreter's own floor, the last what a command pays that loads torch and Ray.

Not shown: the first start after a boot, when all files come from the disk."""
