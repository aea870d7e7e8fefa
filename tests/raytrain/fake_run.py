"""A run folder as the loop writes it, without training: every file, with figures of a run that learns."""

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.evaluation import PREDICTION, summarize
from raytrain.plan import RunPlan
from raytrain.schedule import lr_factor

BEGIN = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


class FakeRun:
    """Writes the folder step by step, on a clock of its own. Steps take 0.5 s, 0.05 s of it waiting for data."""

    def __init__(self, run: Path, plan: RunPlan, data_url: str, *, top1: float, seed: int = 0) -> None:
        run.mkdir(parents=True)
        self.run, self.plan, self.top1 = run, plan, top1
        self.rng, self.now, self.step = np.random.default_rng(seed), BEGIN, 0
        (run / "plan.json").write_text(plan.model_dump_json(indent=1))
        (run / "job.json").write_text(json.dumps({"data_url": data_url}))
        self.event("started", workers=plan.placement.workers, plan=plan.hash)
        self.passes(6.0)

    def passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def event(self, name: str, **fields: Any) -> None:
        self.append("events", {"time": self.now.isoformat(timespec="milliseconds"), "event": name, **fields})

    def append(self, name: str, row: dict[str, Any]) -> None:
        with (self.run / f"{name}.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")

    def train(self, until: int) -> "FakeRun":
        """Steps, evaluations and checkpoints where the plan has them, up to step `until`."""
        lengths = self.plan.lengths
        while self.step < until:
            self.one_step()
            if self.step % lengths.evaluate_every == 0 or self.step == lengths.steps:
                self.evaluate()
            if self.step % lengths.checkpoint_every == 0 or self.step == lengths.steps:
                self.passes(0.8)
                self.event("checkpoint", step=self.step, seconds=0.8)
        return self

    def lose_worker(self) -> None:
        self.event("worker_lost", step=self.step, cause="RayActorError: The actor died")
        self.passes(9.0)
        self.event("resumed", step=self.step, world=self.plan.placement.workers)

    def finish(self) -> None:
        self.event("finished", step=self.step)

    @property
    def epoch(self) -> float:
        return self.step * self.plan.recipe.global_batch / self.plan.data.train_samples

    @property
    def progress(self) -> float:
        return self.step / self.plan.lengths.steps

    def one_step(self) -> None:
        plan = self.plan
        factor = lr_factor(self.step, plan.lengths, plan.recipe.schedule)
        self.step += 1
        seconds = 0.5 * float(self.rng.uniform(0.9, 1.1))
        self.passes(seconds)
        level = 0.6 + math.log(plan.data.classes) * math.exp(-3 * self.top1 * self.progress)
        self.append(
            "metrics",
            {
                "step": self.step,
                "epoch": self.epoch,
                "samples": self.step * plan.recipe.global_batch,
                "loss": level + 0.08 * float(self.rng.standard_normal()),
                "lr": plan.lr * factor,
                "grad_norm": None if self.step == 3 else 1.5,
                "applied": self.step != 3,
                "seconds": seconds,
                "wait_seconds": seconds * float(self.rng.uniform(0.05, 0.15)),
                "images": plan.recipe.global_batch,
            },
        )

    def evaluate(self) -> None:
        self.passes(1.25)
        rows = predictions(self.plan, self.top1 * (1 - math.exp(-4 * self.progress)), self.rng)
        found = summarize(rows, split=self.plan.recipe.eval_split, classes=self.plan.data.classes)
        figures = found.model_dump(include={"top1", "top5", "loss", "calibration_error"})
        row = {"step": self.step, "epoch": self.epoch, "samples": 0, **figures, "seconds": 1.25}
        self.append("evaluations", row)
        whole = {"step": self.step, "evaluation": found.model_dump(mode="json")}
        (self.run / "evaluation.json").write_text(json.dumps(whole))


def predictions(plan: RunPlan, top1: float, rng: np.random.Generator) -> NDArray[np.void]:
    """Rows of a model that is right on `top1` of the images, and else mostly takes the neighbouring class."""
    count, classes = plan.data.eval_samples, plan.data.classes
    rows = np.zeros(count, PREDICTION)
    rows["index"] = np.arange(count)
    rows["label"] = np.arange(count) % classes
    wrong = rng.random(count) >= top1
    away = np.minimum(rng.geometric(0.5, count), classes - 1)
    rows["predicted"] = (rows["label"] + wrong * away) % classes
    rows["top5"] = ~wrong | (rng.random(count) < 0.7)
    rows["confidence"] = np.where(wrong, rng.uniform(0.2, 0.95, count), rng.uniform(0.5, 1.0, count))
    rows["loss"] = np.where(wrong, 2.0, 0.4)
    return rows
