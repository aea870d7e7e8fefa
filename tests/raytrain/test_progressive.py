"""Repeated augmentation and progressive resizing in whole runs: the ledger's proof, resuming, and the plan."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from plans import TINY_RESNET, paper_shardset, tiny_plan, tiny_recipe
from test_losses import SWIN, batch, prepared
from test_worker import HERE, STEPS, figures, job_at, plan_for, saved

from cluster.fleet import Fleet, presets
from raytrain import loop
from raytrain.audit import audit_run
from raytrain.errors import ResumeLater, UsageError
from raytrain.job import Job
from raytrain.manifest import key_of
from raytrain.models.arithmetic import forward_macs
from raytrain.plan import RunPlan, resolve
from raytrain.report import build_report
from raytrain.report.render import page
from raytrain.runlog import JOB, METRICS, PLAN, read_rows
from raytrain.settings import change, parse
from raytrain.tell import plan_text
from raytrain.worker import STOP_FILE, work

BOTH: dict[str, Any] = {
    "regularization": {"mixup": 0.2, "repeats": 2},
    "progressive": ({"until": 0.4, "image_size": 8}, {"until": 1.2, "image_size": 12}),
}


def planned(data: str) -> RunPlan:
    return plan_for(data, epochs=3.2, **BOTH)


def job(run: Path, data: str, resume: str | None = None) -> Job:
    made = job_at(run, data, planned(data), resume)
    (run / PLAN).write_text(made.plan.model_dump_json())
    (run / JOB).write_text(json.dumps({"data_url": data}))
    return made


def test_each_sample_once_a_pass_and_a_resume_ends_the_same(
    small_set: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """24 steps of 8 samples, each twice: 192 slots of an order of 120 samples."""
    sides: list[int] = []
    plain = loop.normalize
    monkeypatch.setattr(loop, "normalize", lambda images: sides.append(images.shape[2]) or plain(images))
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    work(job(straight, small_set), HERE)
    assert sides == [8] * 3 + [12] * 6 + [16] * 15
    with pytest.raises(ResumeLater):
        work(job(stopped, small_set), HERE, lambda _: (stopped / STOP_FILE).touch())
    (stopped / STOP_FILE).unlink()
    work(job(stopped, small_set, f"{stopped}/{key_of(7)}"), HERE)
    assert figures(stopped) == figures(straight)
    assert saved(stopped, 2 * STEPS) == saved(straight, 2 * STEPS)
    rows = read_rows(straight / METRICS)
    assert [row["samples"] for row in rows] == [8 * row["step"] for row in rows]
    assert rows[-1]["epoch"] == pytest.approx(3.2)
    assert "until 0.4, image_size 8; until 1.2, image_size 12" in page([build_report(str(straight))])
    found = audit_run(stopped, lambda *_: None)[0]
    assert found.proven
    assert [(epoch.delivered, epoch.doubled) for epoch in found.epochs] == [(120, 0), (72, 0)]


def test_repeats_are_mixed_and_erased_by_other_draws() -> None:
    """The first repeat is what a batch without repeats is; a pair is mixed within its repeat."""
    images, labels, slots = batch(4)
    once = prepared(images, labels, slots, SWIN)
    twice = prepared(images.repeat(2, 1, 1, 1), labels.repeat(2), slots, SWIN)
    for one, two in zip(once, twice, strict=True):
        assert torch.equal(one, two[:4])
        assert not torch.equal(one, two[4:])


def test_a_repeated_micro_batch_is_whole_pairs_of_repeats() -> None:
    plan = tiny_plan(regularization={"mixup": 0.2, "repeats": 4})
    assert plan.placement.micro_batch % 8 == 0
    assert "repeats           4 samples a batch, each 4 times" in plan_text(plan)
    refused = {"regularization": {"mixup": 0.2, "repeats": 3}}
    with pytest.raises(UsageError, match=r"in pairs, .*, each sample 3 times; .*--set global_batch=12 or 18"):
        tiny_plan(**refused)


def test_the_plan_shows_the_stages_and_counts_their_images() -> None:
    """25 steps an epoch, of 50: 10 at 8 px, 20 at 12, 20 at 16."""
    stages = '[{"until": 0.4, "image_size": 8}, {"until": 1.2, "image_size": 12}]'
    recipe = change(tiny_recipe(), parse([f"progressive={stages}"]))
    fleet = Fleet(name="test", sustained_tflops=1)
    plan, usual = (resolve(made, fleet, paper_shardset()) for made in (recipe, tiny_recipe()))
    assert "progressive       8 px to step 10, 12 px to step 30, then 16 px" in plan_text(plan)
    small, middle, full = (forward_macs(TINY_RESNET, 8, side) for side in (8, 12, 16))
    share = (10 * small + 20 * middle + 20 * full) / (50 * full)
    assert plan.estimates.hours is not None
    assert usual.estimates.hours is not None
    assert plan.estimates.hours / usual.estimates.hours == pytest.approx(share)


def test_a_stage_to_the_last_epoch_leaves_the_views_size_to_evaluation() -> None:
    """Also where epochs are no whole number of steps: 2 x 390 / 16 = 48.75."""
    fixed = change(tiny_recipe(), parse(['progressive=[{"until": 2, "image_size": 8}]']))
    fleet = Fleet(name="test", sustained_tflops=1)
    plan, whole = (resolve(made, fleet, paper_shardset(390)) for made in (fixed, tiny_recipe()))
    assert (plan.lengths.steps, plan.lengths.sizes) == (49, ((49, 8),))
    assert "progressive       8 px to step 49, evaluated at 16 px" in plan_text(plan)
    assert (fixed.largest_image, plan.estimates.forward_gmacs) == (8, whole.estimates.forward_gmacs)
    share = forward_macs(TINY_RESNET, 8, 8) / forward_macs(TINY_RESNET, 8, 16)
    assert plan.estimates.hours is not None
    assert whole.estimates.hours is not None
    assert plan.estimates.hours / whole.estimates.hours == pytest.approx(share)


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ([{"until": 3, "image_size": 8}], "the stages of progressive end at 3: .* none after epochs 2"),
        (
            [{"until": 1, "image_size": 8}, {"until": 0.5, "image_size": 12}],
            "end at 1, 0.5: write them in order",
        ),
    ],
)
def test_stages_out_of_order_are_refused(stages: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        change(tiny_recipe(), {"progressive": stages})


def test_a_stage_whose_windows_do_not_tile_is_refused() -> None:
    from raytrain.recipes import recipe

    odd = change(recipe("smoke_swin_22k"), {"progressive": [{"until": 1, "image_size": 20}]})
    with pytest.raises(UsageError, match=r"size 20 .* nearest: progressive\.0\.image_size=32"):
        resolve(odd, presets()["local"], paper_shardset())
