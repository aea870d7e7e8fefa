"""Feasibility: a point that does not fit is an answer with its reason and by how much, never a crash."""

from pathlib import Path

import pytest

from cluster.fleet import Fleet
from raytrain.plan import resolve
from raytrain.recipes import recipe
from raytrain.recipes.assumed import assumed_data
from raytrain.settings import change
from tuning.search.feasible import ask_plan
from tuning.search.session import Asked, training_of
from tuning.spaces import space

SWIN = recipe("swin_t_1k_224")
DATA = assumed_data(SWIN.made_for)
SMALL = Fleet(name="small", nodes=1, workers_per_node=8, gpu=True, memory_gib=2.5, sustained_tflops=100.0)
CAPACITY = space("swin_capacity", SWIN, "1k")


@pytest.fixture(scope="module")
def base():
    return resolve(SWIN, SMALL, DATA)


def test_larger_networks_exceed_the_memory_by_more(base):
    asked = {
        rung: ask_plan(base, SMALL, DATA, CAPACITY.settings({"capacity": rung}))
        for rung in ("swin_t", "swin_s", "swin_b", "swin_l")
    }
    assert [found.fits for found in asked.values()] == [True, True, True, False]
    over = [found.violations["memory"] for found in asked.values()]
    assert over == sorted(over)
    assert over[2] < 0 < over[3]
    assert "GiB per worker even at micro-batch 2, and fleet 'small' has 2.5" in asked["swin_l"].problem
    assert asked["swin_t"].plan == base.model_copy(update={"recipe": asked["swin_t"].plan.recipe})


def test_the_base_is_planned_as_its_trials_are(tmp_path: Path):
    """On 3 GiB a worker alone holds the network without ZeRO, and not with its copy of the weights."""
    fleet = SMALL.model_copy(update={"workers_per_node": 1, "memory_gib": 3.0})
    (tmp_path / "fleet.yaml").write_text(fleet.model_dump_json(exclude_none=True))
    (tmp_path / "shardset.json").write_text(DATA.model_dump_json())
    asked = Asked(
        recipe="swin_b_22k_224", data=str(tmp_path), out=tmp_path, where="ray", fleet=str(tmp_path / "fleet.yaml"),
        workers=None, settings=(), init=None, init_classes=None,
    )  # fmt: skip
    training = training_of(asked, None)
    trial = ask_plan(training.plan, fleet, DATA, {}).plan
    assert trial is not None
    assert trial.placement == training.plan.placement
    assert trial.placement.zero_stage == 0


def test_hours_are_limited_where_the_speed_is_known(base):
    asked = ask_plan(base, SMALL, DATA, {"model.depths": [2, 2, 18, 2]}, most_hours=base.estimates.hours)
    assert asked.plan is not None
    assert asked.violations["hours"] == pytest.approx(asked.plan.estimates.hours / base.estimates.hours - 1)
    assert asked.problem.startswith("takes ")
    assert "hours, " in asked.problem
    assert ask_plan(base, SMALL, DATA, {}, most_hours=base.estimates.hours).fits
    unknown = SMALL.model_copy(update={"sustained_tflops": None})
    assert "hours" not in ask_plan(base, unknown, DATA, {}, most_hours=1.0).violations


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"global_batch": 1001}, "global batch 1001 does not divide over 8 workers"),
        ({"model.window": 8}, "image size 224 is not tiled by window 8"),
        ({"model.drop_path": 1.5}, "should be less than 1"),
        ({"view.color_jitter": 0.4}, "one of them has to be 0 or none"),
    ],
)
def test_other_refusals_are_infeasible_with_the_plans_own_reason(base, settings, reason):
    asked = ask_plan(base, SMALL, DATA, settings)
    assert asked.plan is None
    assert asked.violations["plan"] == 1.0
    assert reason in asked.problem


def test_a_point_that_fits_is_planned_as_it_will_be_trained(base):
    asked = ask_plan(base, SMALL, DATA, {"model.drop_path": 0.1})
    assert asked.plan == resolve(change(SWIN, {"model.drop_path": 0.1}), SMALL, DATA)
