"""Saves checkpoints in forks of itself, each stopped until it is let go on: torch is imported once for all of them.

Reads lines `URL FOLDER STEP KIB`, KIB being the size of the weights; says the fork's process id, and then how it ended.
"""

import os
import signal
import sys
from pathlib import Path

import torch
from plans import tiny_plan

from data_shards.store import open_store
from raytrain.engine import EngineState
from raytrain.ranks import Ranks
from raytrain.runlog import RunLog
from raytrain.saving import Saver
from raytrain.state import TrainState


class Still:
    """An engine whose state says the step."""

    def __init__(self, step: int, kib: int) -> None:
        self.step, self.kib = step, kib

    def save(self) -> EngineState:
        large, small = torch.full((self.kib * 256,), float(self.step)), torch.full((256,), float(self.step))
        return EngineState(
            model={"w": large}, moments={"w": {"m": small}}, applied=self.step, ema={"w": small}
        )


def save(url: str, folder: Path, step: int, kib: int) -> None:
    """One checkpoint, as a run makes it."""
    ranks = Ranks(rank=0, world=1, device=torch.device("cpu"))
    saver = Saver(store=open_store(url), plan=tiny_plan(), classes=("n1",), ranks=ranks, log=RunLog(folder))
    saver.save(Still(step, kib), TrainState(step=step))
    saver.durable()


def main() -> None:
    for line in sys.stdin:
        url, folder, step, kib = line.split()
        pid = os.fork()
        if not pid:
            os.kill(os.getpid(), signal.SIGSTOP)
            save(url, Path(folder), int(step), int(kib))
            os._exit(0)
        os.waitpid(pid, os.WUNTRACED)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
