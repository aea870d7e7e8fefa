"""A sweep killed at random moments on a Ray cluster that it joined: what is lost, repeated and left behind there.

`python benchmarks/run.py sweeps` kills 20 times and writes the page; `python benchmarks/sweeps.py --kills N` kills N
times and prints what was found.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conditions import spread, table, tell

sys.path.append(str(Path(__file__).parent.parent))
sys.path.append(str(Path(__file__).parent.parent / "tests"))
sys.path.append(str(Path(__file__).parent.parent / "tests" / "tuning"))
from attached import left, rows, start
from ray_head import listening, ray_head
from sets import make_set

from data_shards.synth import SynthOptions

KILLS, TRIALS, WORKERS = 20, 8, 2
LONGEST = 45.0
"""Seconds from a start's first rung to the kill: evenly drawn from 0 on. One rung or two end in that time."""


def measure(scratch: Path, say: Callable[[str], None], kills: int = KILLS) -> dict[str, Any]:
    """Kill -9 and start again, `kills` times, then to the end. Less often, where the sweep ends before."""
    data, out = make_set(scratch, SynthOptions(classes=2, images=32, val_images=8, size=32)), scratch / "out"
    draw, killed = random.Random(0), list[dict[str, Any]]()
    with ray_head(scratch, jobs_api=False) as head:
        listening(head)
        while len(killed) < kills and (row := kill(head, data, out, draw.uniform(0, LONGEST))):
            killed.append(row)
            say(
                f"kill {len(killed)} of {kills}: {len(row['ended'])} rungs had ended, {row['left']} things are left"
            )
        began = time.monotonic()
        code = start(head, data, out, TRIALS, WORKERS).wait()
        last = {"exit_code": code, "seconds": time.monotonic() - began} | counted(left(head))
    ended = rows(out, "rung")
    times = Counter(place(row) for row in ended if row["result"]["state"] == "done")
    return {
        "settings": {"trials": TRIALS, "workers": WORKERS, "longest": LONGEST, "kills_wanted": kills},
        "raw": {"kills": killed, "last": last},
        "medians": {
            "gone": spread([row["gone_after"] for row in [*killed, last]]),
            "left": max(row["left"] for row in [*killed, last]),
            "lost": len({found for row in killed for found in row["ended"]} - set(map(place, ended))),
            "finished": len(times),
            "repeated": sum(count - 1 for count in times.values()),
            "failed": len(ended) - sum(times.values()),
        },
    }


def kill(head: dict[str, str], data: str, out: Path, after: float) -> dict[str, Any] | None:
    """Start the sweep, kill it so long after its first rung began, and look. None where it ended by itself."""
    begun = said(out)
    sweep = start(head, data, out, TRIALS, WORKERS)
    while said(out) == begun and sweep.poll() is None:
        time.sleep(0.1)
    try:
        sweep.wait(after)
    except subprocess.TimeoutExpired:
        ended = [place(row) for row in rows(out, "rung")]
        sweep.kill()
        sweep.wait()
        return {"after": after, "ended": ended} | counted(left(head))
    return None


def place(row: dict[str, Any]) -> str:
    """A rung of a trial."""
    return f"trial {row['trial']} rung {row['rung']}"


def said(out: Path) -> int:
    """How many rungs the sweep has said that it tries."""
    log = out.with_suffix(".log")
    return log.read_text().count(" samples  optimizer.lr=") if log.exists() else 0


def counted(found: dict[str, Any]) -> dict[str, Any]:
    """How many groups, actors and processes are left, and after how long there was nothing more."""
    things = {name: len(found[name]) for name in ("groups", "actors", "processes")}
    return {**things, "left": sum(things.values()), "gone_after": found["seconds"]}


def page(result: dict[str, Any]) -> str:
    """What was found."""
    settings, medians, kills = result["settings"], result["medians"], result["raw"]["kills"]
    cells = [
        ["kills -9", f"{len(kills)} of {settings['kills_wanted']} wanted"],
        ["rungs that had ended and were lost", f"{medians['lost']}"],
        ["rungs that had ended and were run again", f"{medians['repeated']}"],
        ["rungs at the end", f"{medians['finished']} done, {medians['failed']} failed"],
        ["placement groups, actors and processes left", f"{medians['left']} at the most"],
        ["gone after, s", tell(medians["gone"], 1)],
    ]
    return f"""## A sweep killed on a cluster that it joined

{table([f"{settings['trials']} nested trials of {settings['workers']} workers", ""], cells)}

How: `raytrain tune --address` on a Ray of 2 CPUs that asks for a token and has no dashboard; a trial is two rungs,
each a nested Ray Train run (DeepSpeed, gloo) of 4 steps. The command is killed 0 to {settings["longest"]:.0f} s,
evenly drawn, after its first rung began, and typed again; what is left on the cluster is asked of Ray and of the kernel
until it is nothing, 90 s at the most. Then it goes to its end: the last start took
{result["raw"]["last"]["seconds"]:.0f} s, with exit code {result["raw"]["last"]["exit_code"]}.

Not shown: that the weights are those of an undisturbed sweep (a test of the executor in this process does that), and
a cluster of several machines."""


def main() -> None:
    """Kill as often as is asked for, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=KILLS)
    with tempfile.TemporaryDirectory(prefix="raytrain-bench-") as scratch:
        result = measure(Path(scratch), lambda line: print(line, flush=True), parser.parse_args().kills)
    print(json.dumps(result, indent=1), page(result), sep="\n\n")


if __name__ == "__main__":
    main()
