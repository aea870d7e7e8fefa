"""The process of one path: one core, one thread, and CPU seconds that leave out nothing.

    python -m paths.child MODULE OPTIONS DATA     (both as JSON; in benchmarks/, with the path's own interpreter)

It answers each line of standard input with a line of JSON: `epoch` with images and seconds, `crops FILE`, whose
boxes are in FILE as JSON, with the name of an .npy file of the crops.
"""

import json
import os
import sys
import time
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from paths.path import BATCH, SIDE, Data, LoaderPath, Pick

POLL, CALM_POLLS, PATIENCE = 0.02, 5, 60.0
"""A process is quiet when no other thread of it ran or waited for a core at 5 looks, 20 ms apart."""


def main() -> None:
    """Open the path, say so, and do as told until standard input ends."""
    module, options, data = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    import torch

    torch.set_num_threads(1)
    libraries = options.pop("libraries", [])
    path: LoaderPath = import_module(f"paths.{module}").open_path(
        Data(**{key: Path(folder) for key, folder in data.items()}), **options
    )
    tell(answers, {"versions": {name: version(name) for name in libraries}})
    for line in sys.stdin:
        verb, _, argument = line.strip().partition(" ")
        tell(answers, epoch(path) if verb == "epoch" else crops(path, Path(argument)))


def tell(answers: Any, answer: dict[str, Any]) -> None:
    """One line of JSON."""
    print(json.dumps(answer), file=answers, flush=True)


def epoch(path: LoaderPath) -> dict[str, float]:
    """All images once, from a quiet process to a quiet process: work ahead is paid in the pass that it is done in."""
    import torch

    settle()
    began, wall, images = cpu_seconds(), time.perf_counter(), 0
    for batch in path.epoch():
        if batch.dtype != torch.uint8 or batch.shape[1:] != (3, SIDE, SIDE) or len(batch) > BATCH:
            raise ValueError(f"a batch of {batch.dtype} {tuple(batch.shape)}")
        images += len(batch)
    wall = time.perf_counter() - wall
    settle()
    return {"images": images, "cpu": cpu_seconds() - began, "wall": wall}


def settle() -> None:
    """Wait until no other thread of this process or of its children runs or wants to."""
    calm, until = 0, time.monotonic() + PATIENCE
    while calm < CALM_POLLS:
        if time.monotonic() > until:
            raise RuntimeError(f"the path's threads are still busy {PATIENCE:.0f} s after its last batch")
        calm = 0 if any(busy(stat) for stat in threads(os.getpid())) else calm + 1
        time.sleep(POLL)


def threads(process: int) -> list[list[str]]:
    """/proc's stat fields, from the state on, of every thread of the process and of its children."""
    found = []
    for task in Path(f"/proc/{process}/task").iterdir():
        try:
            found.append([task.name, *(task / "stat").read_text().rpartition(")")[2].split()])
            children = (task / "children").read_text().split()
        except OSError:  # it has just ended
            continue
        for child in children:
            found += threads(int(child))
    return found


def busy(stat: list[str]) -> bool:
    """Whether a thread, not this one, runs, is ready to, or waits for the disk."""
    return stat[1] in "RD" and int(stat[0]) != os.getpid()


def cpu_seconds() -> float:
    """User and system seconds of all threads of this process, and of its living children (in whole ticks)."""
    own = {task.name for task in Path("/proc/self/task").iterdir()}
    ticks = sum(int(stat[12]) + int(stat[13]) for stat in threads(os.getpid()) if stat[0] not in own)
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def crops(path: LoaderPath, asked: Path) -> dict[str, Any]:
    """Make the crops that the file asks for, and save them beside it."""
    import numpy as np

    picks = [Pick(*pick) for pick in json.loads(asked.read_text())]
    file = asked.with_suffix(".npy")
    np.save(file, np.asarray(path.crops(picks)))
    return {"crops": str(file)}


if __name__ == "__main__":
    main()
