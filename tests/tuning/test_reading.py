"""What a run's own files say of it: one that ended, one that diverged, one that failed early, one that was resumed."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "raytrain"))
from fake_run import FakeRun
from plans import tiny_plan

from raytrain.errors import RunError
from raytrain.plan import RunPlan
from tuning.method.reading import read_trial, reading_of
from tuning.method.values import Rate
from tuning.search.values import RungResult


class MeasuredRun(FakeRun):
    """A fake run whose evaluations look at the slice of training images too, and which measures every tenth update."""

    def append(self, name: str, row: dict[str, Any]) -> None:
        if name == "evaluations":
            row = {**row, "train": {"top1": 0.75, "top5": 1.0, "loss": 0.5, "calibration_error": 0.1}}
        if name == "metrics" and self.step % 10 == 1:
            row = {**row, "update_ratio": self.step / 1000}
        super().append(name, row)


@pytest.fixture
def plan() -> RunPlan:
    """400 training and 40 held-out images of 8 classes, 50 steps, evaluated after every 25; two workers."""
    return tiny_plan(workers=2, train_slice=100)


def test_a_run_that_ended(plan: RunPlan, tmp_path: Path) -> None:
    run = MeasuredRun(tmp_path / "run", plan, "set", top1=0.8).train(50)
    run.finish()
    found = read_trial(run.run)
    assert (found.state, found.problem, found.steps) == ("done", "", 50)
    assert found.train == Rate(wrong=25, of=100)
    top1 = [json.loads(line)["top1"] for line in (run.run / "evaluations.jsonl").read_text().splitlines()]
    assert found.minival == Rate(wrong=round(40 * (1 - top1[-1])), of=40)
    assert [point.minival for point in found.curve] == pytest.approx([1 - value for value in top1])
    assert [point.train for point in found.curve] == [0.25, 0.25]
    assert found.initial_loss == pytest.approx(0.6 + math.log(8), abs=0.5)
    assert (found.non_finite, found.grad_norms, found.clipped) == (1, (1.5, 1.5, 1.5), 0.0)
    assert found.update_ratio == 0.021  # of steps 1, 11, 21, 31, 41
    assert 0.05 < found.input_wait < 0.15
    assert found.images_per_second == pytest.approx(16 / 0.5, rel=0.1)
    seconds = (run.now - run.now.replace(hour=9, minute=30, second=0, microsecond=0)).total_seconds()
    assert found.gpu_hours == pytest.approx(2 * seconds / 3600, abs=1e-5)


def test_clipped_steps_are_those_above_the_limit(tmp_path: Path) -> None:
    plan = tiny_plan(optimizer={"lr": 1e-2, "lr_batch": 16, "clip_norm": 1.0})
    run = FakeRun(tmp_path / "run", plan, "set", top1=0.8).train(50)
    assert read_trial(run.run).clipped == 1.0


def test_a_run_that_diverged(plan: RunPlan, tmp_path: Path) -> None:
    run = MeasuredRun(tmp_path / "run", plan, "set", top1=0.8).train(30)
    for _ in range(11):
        run.step += 1
        run.append("metrics", {**_last(run.run), "step": run.step, "applied": False, "grad_norm": None})
    found = read_trial(run.run)
    assert (found.state, found.steps, found.non_finite) == ("diverged", 41, 12)
    assert found.train is None
    assert found.minival is None
    assert len(found.curve) == 1
    assert found.problem == "it ended at step 41 of 50"


def test_what_the_executor_says_comes_first(plan: RunPlan, tmp_path: Path) -> None:
    """Outputs that are not finite at an evaluation leave no row."""
    run = MeasuredRun(tmp_path / "run", plan, "set", top1=0.8).train(30)
    said = RungResult(
        state="diverged", samples=480, error=None, seconds=1.0, problem="outputs are not finite"
    )
    found = read_trial(run.run, said)
    assert (found.state, found.problem) == ("diverged", "outputs are not finite")


def test_done_is_not_believed_of_a_run_that_is_not(plan: RunPlan, tmp_path: Path) -> None:
    run = MeasuredRun(tmp_path / "run", plan, "set", top1=0.8).train(30)
    said = RungResult(state="done", samples=480, error=0.5, seconds=1.0)
    assert read_trial(run.run, said).state == "failed"


def test_a_run_that_failed_before_its_first_evaluation(plan: RunPlan, tmp_path: Path) -> None:
    run = MeasuredRun(tmp_path / "run", plan, "set", top1=0.8).train(7)
    found = read_trial(run.run)
    assert (found.state, found.curve, found.steps) == ("failed", (), 7)
    assert found.gpu_hours > 0


def test_a_run_that_never_began(plan: RunPlan, tmp_path: Path) -> None:
    found = reading_of(plan, tmp_path / "none")
    assert (found.state, found.steps, found.gpu_hours, found.grad_norms) == ("failed", 0, 0.0, None)
    with pytest.raises(RunError, match="holds no run"):
        read_trial(tmp_path / "none")


def test_a_resumed_run_counts_what_was_lost_and_not_the_pause(plan: RunPlan, tmp_path: Path) -> None:
    run = MeasuredRun(tmp_path / "run", plan, "set", top1=0.8).train(20)
    run.lose_worker()  # 9 seconds to come back
    run.train(25)
    run.passes(3600)  # somebody stopped it, and went on an hour later
    run.event("started", workers=2, plan=plan.hash)
    run.train(50).finish()
    found = read_trial(run.run)
    parts = 50 * 0.5 + 2 * 1.25 + 2 * 0.8 + 6 + 9
    assert found.gpu_hours == pytest.approx(2 * parts / 3600, rel=0.05)
    assert found.state == "done"


def _last(run: Path) -> dict[str, Any]:
    row: dict[str, Any] = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    return row
