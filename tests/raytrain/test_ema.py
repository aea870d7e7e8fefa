"""The average of the weights: what it is, that it is evaluated and saved beside them, and that it goes on exactly."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from gloo import on_ranks
from plans import TINY_RESNET, tiny_plan
from test_engine import make, one_step
from test_worker import HERE, STEPS, job_at, plan_for
from torch import nn

from raytrain import checkpoint
from raytrain.ema import Ema
from raytrain.errors import ResumeLater, UsageError
from raytrain.manifest import key_of, verify
from raytrain.models.build import build
from raytrain.offline import evaluate_checkpoint
from raytrain.plan import RunPlan
from raytrain.report import build_report, markdown
from raytrain.runlog import EVALUATIONS, read_rows
from raytrain.tell import plan_text
from raytrain.worker import STOP_FILE, work

DECAY = 0.75


def averaging(data: str) -> RunPlan:
    return plan_for(data, ema_decay=DECAY, model=TINY_RESNET.model_copy(update={"drop_path": 0.3}))


@pytest.fixture(scope="module")
def averaged(small_set: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("ema") / "run"
    work(job_at(run, small_set, averaging(small_set)), HERE)
    (run / "job.json").write_text(json.dumps({"data_url": small_set}))
    (run / "plan.json").write_text(averaging(small_set).model_dump_json())
    return run


def test_it_is_the_running_average_of_weights_and_statistics() -> None:
    module = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    nn.init.constant_(module[0].weight, 8.0)
    ema = Ema(module, DECAY)
    for weight, mean in ((16.0, 4.0), (0.0, 8.0)):
        nn.init.constant_(module[0].weight, weight)
        module[1].running_mean.fill_(mean)
        module[1].num_batches_tracked += 1
        ema.update(module)
    state = ema.module.state_dict()
    assert state["0.weight"].item() == 0.75 * (0.75 * 8 + 0.25 * 16) + 0.25 * 0
    assert state["1.running_mean"].item() == 0.75 * (0.25 * 4) + 0.25 * 8
    assert state["1.num_batches_tracked"].item() == 2
    assert module[0].weight.item() == 0.0, "the weights themselves are left alone"


def test_both_are_evaluated_logged_and_reported(averaged: Path, small_set: str) -> None:
    rows = read_rows(averaged / EVALUATIONS)
    assert [row["step"] for row in rows] == [6, 12]
    assert all(row["ema"].keys() == {"top1", "top5", "loss", "calibration_error"} for row in rows)
    assert all(row["ema"]["loss"] != row["loss"] for row in rows)
    last = f"{averaged}/{key_of(STEPS)}"
    for ema, logged in ((False, rows[-1]), (True, rows[-1]["ema"])):
        found = evaluate_checkpoint(
            last, small_set, split="val", image_size=None, ema=ema, say=lambda _: None
        )
        assert found.top1 == logged["top1"]
        assert found.loss == pytest.approx(logged["loss"], rel=1e-5)
    report = build_report(str(averaged))
    assert [point.ema.top1 for point in report.evaluations if point.ema] == [
        row["ema"]["top1"] for row in rows
    ]
    assert "EMA top-1, %" in markdown([report])


def test_a_stopped_run_goes_on_with_the_same_average(averaged: Path, small_set: str, tmp_path: Path) -> None:
    run = tmp_path / "stopped"
    job = job_at(run, small_set, averaging(small_set))
    with pytest.raises(ResumeLater):
        work(job, HERE, lambda _: (run / STOP_FILE).touch())
    (run / STOP_FILE).unlink()
    work(job.model_copy(update={"resume": f"{run}/{key_of(7)}"}), HERE)
    ours, theirs = (verify(f"{folder}/{key_of(STEPS)}").manifest.files for folder in (run, averaged))
    assert {"model.pt", "ema.pt"} < set(ours)
    assert ours == theirs


def test_the_average_is_of_the_steps_that_were_taken(averaged: Path, small_set: str) -> None:
    """After 12 steps it is near the weights, nearer than the first weights are, and not the same."""
    found = verify(f"{averaged}/{key_of(STEPS)}")
    first = build(averaging(small_set).recipe.model, 6, 16, seed=0).state_dict()
    weights, average = checkpoint.load_model(found), checkpoint.load_ema(found)
    away = [float((other["fc.weight"] - weights["fc.weight"]).norm()) for other in (average, first)]
    assert 0 < away[0] < away[1]


def test_a_run_without_one_says_so(small_set: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    work(job_at(run, small_set, plan_for(small_set, epochs=0.1)), HERE)
    with pytest.raises(UsageError, match=r"holds no average of the weights: .*--set ema_decay="):
        evaluate_checkpoint(str(run), small_set, split="val", image_size=None, ema=True, say=lambda _: None)
    assert "ema" not in read_rows(run / EVALUATIONS)[0]


def test_the_plan_counts_it() -> None:
    plain, ema = tiny_plan(), tiny_plan(ema_decay=0.9999)
    more = 4 * plain.estimates.parameters
    assert ema.estimates.checkpoint_bytes - plain.estimates.checkpoint_bytes == more
    assert (ema.estimates.worker_gib - plain.estimates.worker_gib) * 2**30 == pytest.approx(more)
    assert "weight average    EMA, decay 0.9999" in plan_text(ema)
    assert "EMA" not in plan_text(plain)


def two_steps(rank: int, world: int) -> dict[str, Any]:
    """Of each engine: the state after two steps, the second not finite, and the state that a fresh engine loads."""
    found: dict[str, Any] = {}
    for engine, stage in (("torch", 0), ("deepspeed", 0), ("deepspeed", 1), ("deepspeed", 2)):
        plan = tiny_plan(workers=world, engine=engine, zero_stage=stage, precision="fp32", ema_decay=DECAY)
        started = make(plan)
        begun = started.save()
        applied = [one_step(started, plan, step, rank, poison=1) for step in (0, 1)]
        saved = started.save()
        fresh = make(plan)
        fresh.load(saved)
        found[f"{engine}-{stage}"] = (begun, saved, fresh.save(), applied)
    return found


@pytest.mark.ranks
def test_every_rank_of_every_engine_has_the_same_average(tmp_path: Path) -> None:
    first, second = on_ranks(2, two_steps, tmp_path)
    for name, (begun, saved, loaded, applied) in first.items():
        assert applied == [True, False], name
        for key, tensor in saved.ema.items():
            assert torch.equal(tensor, loaded.ema[key]), (name, key)
            assert torch.equal(tensor, second[name][1].ema[key]), (name, key)
            if tensor.is_floating_point():
                expected = DECAY * begun.model[key] + (1 - DECAY) * saved.model[key]
                torch.testing.assert_close(tensor, expected, msg=f"{name} {key}")
