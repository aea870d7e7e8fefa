"""What a checkpoint takes from the steps: none, written within the step, and written behind the steps, in turn."""

import itertools
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conditions import spread, table, tell

sys.path.append(str(Path(__file__).parent.parent / "tests" / "raytrain"))

if TYPE_CHECKING:
    from raytrain.plan import RunPlan

WAYS = ("none", "within", "behind")
WORKERS = (1, 2)
ROUNDS, STEPS = 7, 5
"""Blocks of so many steps; the checkpoint of a block comes after its first."""

RECIPE, SETTINGS = "cbam_resnext50_1k_2018", ["view.image_size=64", "precision=fp32", "global_batch=8"]
FLEETS = (1, 8, 64, 256, 1_024)
SHARE = 0.02  # of the time, that steps may wait


def measure(scratch: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """CPU workers of one thread each, on gloo, with DeepSpeed's ZeRO 1: its state is parted, and has to be gathered."""
    from gloo import on_ranks

    raw, checkpoint_bytes = {}, 0
    for workers in WORKERS:
        folder = scratch / str(workers)
        folder.mkdir()
        first = on_ranks(workers, blocks, folder, folder)[0]
        raw[str(workers)], checkpoint_bytes = first["rows"], first["checkpoint_bytes"]
        say(f"{workers} worker{'s' if workers > 1 else ''}: {ROUNDS} rounds")
    return {
        "settings": {"recipe": RECIPE, "set": SETTINGS, "rounds": ROUNDS, "steps": STEPS},
        "raw": raw,
        "medians": {
            "checkpoint_bytes": checkpoint_bytes,
            "workers": {workers: summary(rows) for workers, rows in raw.items()},
            "advised_seconds": {str(fleet): advised(checkpoint_bytes, fleet) for fleet in FLEETS},
        },
    }


def advised(checkpoint_bytes: int, workers: int) -> float:
    """Seconds between checkpoints, by the plan's rule."""
    from raytrain.plan.interval import interval_minutes

    return 60 * interval_minutes(checkpoint_bytes, workers)


def blocks(rank: int, world: int, scratch: Path) -> dict[str, Any]:
    """One rank's blocks, in every order in turn."""
    import torch

    from raytrain.cli.options import make_plan

    plan = make_plan(
        RECIPE, None, fleet="local", workers=world, settings=SETTINGS, init=None, engine="deepspeed", zero=1
    )
    measured = Measured(plan, rank, scratch / "run")
    draw = torch.Generator().manual_seed(rank)
    images = torch.randn(plan.placement.micro_batch, 3, 64, 64, generator=draw)
    classes = torch.randint(1000, (plan.placement.micro_batch,), generator=draw)
    targets = torch.nn.functional.one_hot(classes, 1000).float()
    for _ in range(3):
        measured.block("behind", images, targets)  # unmeasured; from now on each checkpoint deletes one
    rows: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    orders = itertools.cycle(itertools.permutations(WAYS))
    for _, order in zip(range(ROUNDS), orders, strict=False):
        for way in order:
            rows[way].append(measured.block(way, images, targets))
    measured.saver.close()
    return {"rows": rows, "checkpoint_bytes": plan.estimates.checkpoint_bytes}


class Measured:
    """A rank's engine, and the run's saver beside it."""

    def __init__(self, plan: "RunPlan", rank: int, run: Path) -> None:
        import torch
        from contenders.ours import make

        from data_shards.store import open_store
        from raytrain.ranks import Ranks
        from raytrain.runlog import RunLog
        from raytrain.saving import Saver
        from raytrain.state import TrainState

        self.engine, self.state, self.run = make(plan, "cpu"), TrainState(), run
        self.ranks = Ranks(rank=rank, world=plan.placement.workers, device=torch.device("cpu"))
        run.mkdir(exist_ok=True)
        self.saver = Saver(
            store=open_store(str(run)), plan=plan, classes=tuple(f"n{n:08d}" for n in range(1000)),
            ranks=self.ranks, log=RunLog(run if self.ranks.first else None),
        )  # fmt: skip

    def block(self, way: str, images: Any, targets: Any) -> dict[str, float]:
        """Seconds of a block of steps, of its step that saved, of the thread behind, of what that had left to do."""
        self.ranks.mean(images.new_zeros(1))  # all begin together
        began, used, stall = time.perf_counter(), time.process_time(), 0.0
        for step in range(STEPS):
            self.engine.forward_backward(images, targets)
            self.engine.step(1e-4)
            self.state.step += 1
            if step == 0 and way != "none":
                asked = time.perf_counter()
                self.saver.save(self.engine, self.state)
                if way == "within":
                    self.saver.durable()
                stall = time.perf_counter() - asked
        block = time.perf_counter() - began
        self.saver.durable()
        left = time.perf_counter() - began - block
        cpu = time.process_time() - used
        return {"block": block, "stall": stall, "behind": self.behind(way), "left": left, "cpu": cpu}

    def behind(self, way: str) -> float:
        """What the thread says that it needed for the last checkpoint."""
        from raytrain.runlog import EVENTS, read_rows

        rows = read_rows(self.run / EVENTS) if way != "none" and self.ranks.first else []
        return float(rows[-1]["behind"]) if rows else 0.0


def summary(rows: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Medians; what a checkpoint cost in all is against the block without one of the same round."""
    step = statistics.median(row["block"] for row in rows["none"]) / STEPS
    ways = {}
    for way in ("within", "behind"):
        pairs = list(zip(rows[way], rows["none"], strict=True))
        ways[way] = {
            "stall": spread([row["stall"] for row in rows[way]]),
            "behind": spread([row["behind"] for row in rows[way]]),
            "beside": spread([row["block"] - bare["block"] - row["stall"] for row, bare in pairs]),
            "in_all": spread([row["block"] - bare["block"] for row, bare in pairs]),
            "left": spread([row["left"] for row in rows[way]]),
            "cpu": spread([row["cpu"] - bare["cpu"] for row, bare in pairs]),
        }
    return {"step": step, "ways": ways}


def page(result: dict[str, Any]) -> str:
    """What a save takes, and what that means at the advised interval."""
    medians, settings = result["medians"], result["settings"]
    size, measured = medians["checkpoint_bytes"], medians["workers"]
    saves = [
        [
            f"{workers}, {name} the step{'s' if name == 'behind' else ''}", f"{told['step']:.2f}",
            tell(way["stall"]), f"{size / way['stall']['median'] / 1e9:.2f}", tell(way["behind"]),
            tell(way["beside"]), tell(way["in_all"]), tell(way["cpu"]),
        ]
        for workers, told in measured.items()
        for name, way in told["ways"].items()
    ]  # fmt: skip
    header = ["workers, written ...", "a step, s", "the step waits, s", "GB/s", "write, read back, prune, s"]
    header += ["other steps lose, s", "in all, s", "CPU of rank 0, s"]
    most = list(measured)[-1]
    shares, kept = [], True
    for fleet, seconds in medians["advised_seconds"].items():
        behind = measured.get(fleet, measured[most])["ways"]["behind"]
        wait, everything = (behind[part]["median"] / seconds for part in ("stall", "in_all"))
        kept = kept and wait <= SHARE
        shares.append([fleet, f"{seconds / 60:.1f}", f"{wait:.3%}", f"{everything:.3%}"])
    return f"""## Checkpoints

{table(header, saves)}

A checkpoint is {size / 1e6:.0f} MB. Written behind the steps, a step waits for a copy of all state in host memory,
which the ranks gather; a thread of rank 0 writes it, reads it back and deletes an older one. What the other steps lose
to that thread is the time of a block of {settings["steps"]} steps, less the wait, less the block without a checkpoint
of the same round; "in all" is with the wait. The CPU seconds are such a difference, too. Below zero is noise.

{table(["workers", "advised interval, min", "of it the wait", "of it in all"], shares)}

Steps are to wait for at most {SHARE:.0%} of the time at the interval that `raytrain plan` advises:
{"kept" if kept else "MISSED"}. More than {most} workers have the seconds of {most} here, and their own intervals.

How: {settings["recipe"]} with {", ".join(settings["set"])},
DeepSpeed's ZeRO 1 over gloo, CPU workers with one thread each for their steps, all on this machine. In each of
{settings["rounds"]} rounds a block without a checkpoint, one within its step and one behind, in every order in turn;
median (lowest to highest).

Not shown: GPUs, where the copy crosses the bus and the thread has a core of its own; the network between hosts; S3."""
