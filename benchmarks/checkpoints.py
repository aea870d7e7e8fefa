"""What a checkpoint takes from the steps: none, written within the step, and written behind the steps, in turn."""

import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conditions import spread, table, tell

if TYPE_CHECKING:
    from raytrain.engine import Engine
    from raytrain.plan import RunPlan

WAYS = ("none", "within", "behind")
ROUNDS, STEPS = 12, 10
"""Blocks of so many steps; the checkpoint of a block comes after its first."""

RECIPE, SETTINGS = "cbam_resnext50_1k_2018", ["view.image_size=64", "precision=fp32", "global_batch=8"]
SHARE = 0.02  # of the time, that steps may wait


def measure(scratch: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """One CPU worker with one thread for its steps, and a core to spare for what is behind them."""
    import torch

    from raytrain.cli.options import make_plan
    from raytrain.ranks import use_threads

    use_threads(1)
    plan = make_plan(
        RECIPE, None, fleet="local", workers=1, settings=SETTINGS, init=None, engine="torch", zero=1
    )
    measured = Measured(plan, scratch)
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(8, 3, 64, 64, generator=draw)
    targets = torch.nn.functional.one_hot(torch.randint(1000, (8,), generator=draw), 1000).float()
    raw: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    orders = itertools.cycle(itertools.permutations(WAYS))
    for _ in range(3):
        measured.block("behind", images, targets)  # unmeasured; from now on each checkpoint deletes one
    for number, order in zip(range(ROUNDS), orders, strict=False):
        for way in order:
            raw[way].append(measured.block(way, images, targets))
        say(f"round {number + 1} of {ROUNDS}")
    measured.saver.close()
    return {
        "settings": {"recipe": RECIPE, "set": SETTINGS, "rounds": ROUNDS, "steps": STEPS},
        "raw": raw,
        "medians": summary(raw, plan),
    }


class Measured:
    """An engine, and a run's saver beside it."""

    def __init__(self, plan: "RunPlan", scratch: Path) -> None:
        import torch

        from data_shards.store import open_store
        from raytrain.engine import TorchEngine
        from raytrain.models.build import build
        from raytrain.optim import make_optimizer
        from raytrain.ranks import Ranks
        from raytrain.runlog import RunLog
        from raytrain.saving import Saver
        from raytrain.state import TrainState

        here = torch.device("cpu")
        module = build(plan.recipe.model, plan.data.classes, plan.recipe.view.image_size, seed=0)
        self.engine: Engine = TorchEngine(
            module, make_optimizer(module, plan.recipe, plan.lr), device=here, accumulation=1,
            clip_norm=plan.recipe.optimizer.clip_norm, bf16=False,
        )  # fmt: skip
        self.run, self.state = scratch / "run", TrainState()
        self.run.mkdir()
        self.saver = Saver(
            store=open_store(str(self.run)), plan=plan, classes=("n00000001",),
            ranks=Ranks(rank=0, world=1, device=here), log=RunLog(self.run),
        )  # fmt: skip

    def block(self, way: str, images: Any, targets: Any) -> dict[str, float]:
        """Seconds of a block of steps, of its step that saved, and of what was left to write at its end."""
        began, stall = time.perf_counter(), 0.0
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
        return {"block": block, "stall": stall, "left": left}


def summary(raw: dict[str, list[dict[str, float]]], plan: "RunPlan") -> dict[str, Any]:
    """Medians; what a checkpoint cost in all is against the block without one of the same round."""
    step = statistics.median(row["block"] for row in raw["none"]) / STEPS
    ways = {}
    for way in ("within", "behind"):
        pairs = zip(raw[way], raw["none"], strict=True)
        ways[way] = {
            "stall": spread([row["stall"] for row in raw[way]]),
            "in_all": spread([row["block"] - bare["block"] for row, bare in pairs]),
            "left": spread([row["left"] for row in raw[way]]),
        }
    return {
        "step": step,
        "checkpoint_bytes": plan.estimates.checkpoint_bytes,
        "advised_minutes": plan.estimates.checkpoint_minutes,
        "ways": ways,
    }


def page(result: dict[str, Any]) -> str:
    """The two ways, and what they mean at an interval."""
    medians, settings = result["medians"], result["settings"]
    advised = 60 * medians["advised_minutes"]
    rows = [
        [
            name, tell(way["stall"]), tell(way["in_all"]), f"{way['in_all']['median'] / advised:.3%}",
            f"{max(way['in_all']['median'], 0) / SHARE:.0f}",
        ]
        for name, way in medians["ways"].items()
    ]  # fmt: skip
    header = ["written ... the step", "step waits, s", "all steps together, s"]
    header += [f"share at the advised {advised / 60:.0f} min", f"{SHARE:.0%} at an interval of, s"]
    ways = medians["ways"]
    rate = medians["checkpoint_bytes"] / ways["behind"]["stall"]["median"] / 1e9
    return f"""## Checkpoints

{table(header, rows)}

A checkpoint is {medians["checkpoint_bytes"] / 1e6:.0f} MB, a step {medians["step"]:.2f} s. Behind the steps, the
step waits for a copy in host memory ({rate:.1f} GB/s); a thread writes it, reads it back and deletes an older one.
"All steps together" is a block of {settings["steps"]} steps with one checkpoint, less the block without of the same
round: it has also what the thread takes from the steps, of memory and of the interpreter. The advised interval is that
of `raytrain plan`.

How: one CPU worker, plain torch, {settings["recipe"]} with {", ".join(settings["set"])},
one thread for steps. {settings["rounds"]} rounds of the three ways, in every order in turn; median (lowest to highest).

Not shown: GPUs, where the copy crosses the bus and the thread has a core of its own; several workers, which gather
first; S3."""
