"""The sampler: a pure function of seed, number and what was told; equal shares; divergence learned; the front."""

import math
import statistics
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from raytrain.recipes import recipe
from raytrain.settings import change
from tuning.search.sampler import STARTUP, propose, propose_batch
from tuning.search.told import Told, front, values
from tuning.spaces import space
from tuning.spaces.read import parse_space

SMOKE = recipe("smoke_swin_22k")
THREE = parse_space(
    ["optimizer.lr=log:1e-4:1e-1", "optimizer.weight_decay=log:1e-4:0.3", "model.drop_path=0:0.3"], SMOKE
)
ATTENTION = space("cbam_attention", recipe("smoke_resnext_cbam_22k"), "1k")


def ended(number, point):
    """A made-up training: a third of the learning rates (in the logarithm) diverge, and the best lies beside them."""
    rate = math.log10(point["optimizer.lr"])
    if rate > -2:
        return Told(number=number, point=point, state="diverged")
    decay, drop = math.log10(point["optimizer.weight_decay"]), point["model.drop_path"]
    error = 0.2 + 0.1 * (rate + 2.2) ** 2 + 0.02 * (decay + 1.3) ** 2 + 0.3 * (drop - 0.1) ** 2
    return Told(number=number, point=point, state="done", values={"error": error})


def sweep(of, run, *, trials, batch, seed=0, strategy="tpe", order=None, objectives=("error",)):
    """All trials of a sweep in fixed batches, told in the order that `order` shuffles them into."""
    told = []
    for first in range(0, trials, batch):
        points = propose_batch(
            of, strategy=strategy, study_seed=seed, first=first, size=batch, told=told, objectives=objectives
        )
        found = [run(first + place, point) for place, point in enumerate(points)]
        if order is not None:
            order.shuffle(found)
        told += found
    return sorted(told, key=lambda trial: trial.number)


@settings(max_examples=4, deadline=None)
@given(order=st.integers(0, 10**6), seed=st.integers(0, 2**31))
def test_trials_do_not_depend_on_who_ends_first(order, seed):
    plain = sweep(THREE, ended, trials=16, batch=4, seed=seed)
    shuffled = sweep(THREE, ended, trials=16, batch=4, seed=seed, order=Random(order))
    assert [trial.point for trial in plain] == [trial.point for trial in shuffled]


def test_a_batch_is_the_same_whether_its_trials_are_asked_at_once_or_one_by_one():
    told = sweep(THREE, ended, trials=12, batch=4)
    at_once = propose_batch(THREE, strategy="tpe", study_seed=0, first=12, size=4, told=told)
    points = []
    for number in range(12, 16):
        later = [
            *told,
            *(ended(12 + place, point) for place, point in enumerate(points)),
        ]  # concurrency 1: known
        points.append(
            propose(THREE, strategy="tpe", study_seed=0, number=number, told=later[:12], pending=points)
        )
    assert points == at_once
    assert len({point["optimizer.lr"] for point in points}) == 4
    assert propose_batch(THREE, strategy="tpe", study_seed=0, first=12, size=4, told=told) == at_once
    assert propose_batch(THREE, strategy="tpe", study_seed=1, first=12, size=4, told=told) != at_once


def test_what_a_batch_tells_is_unknown_to_itself():
    told = sweep(THREE, ended, trials=16, batch=4)
    assert propose_batch(THREE, strategy="tpe", study_seed=0, first=12, size=4, told=told) == [
        trial.point for trial in told[12:]
    ]


@pytest.mark.parametrize("strategy", ["sobol", "tpe", "random"])
def test_the_first_trial_is_the_recipe(strategy):
    assert propose(THREE, strategy=strategy, study_seed=3, number=0, told=[]) == {
        "optimizer.lr": 2e-3,
        "optimizer.weight_decay": 0.05,
        "model.drop_path": 0.05,
    }
    outside = parse_space(["optimizer.lr=0.1:0.2"], SMOKE)
    point = propose(outside, strategy=strategy, study_seed=3, number=0, told=[])
    assert change(SMOKE, outside.settings(point)) == SMOKE


def test_a_recipe_outside_of_its_space_can_be_told():
    outside = parse_space(["optimizer.lr=0.01:0.02", "model.drop_path=0:0.3"], SMOKE)
    told = sweep(
        outside,
        lambda number, point: Told(number=number, point=point, state="done", values={"error": 0.5}),
        trials=STARTUP + 2,
        batch=2,
    )
    assert told[0].point == {}
    assert all(0.01 <= trial.point["optimizer.lr"] <= 0.02 for trial in told[1:])


def test_scientific_values_come_equally_often():
    capacity = space("swin_capacity", recipe("swin_b_1k_224"), "1k")
    points = [propose(capacity, strategy="sobol", study_seed=5, number=n, told=[]) for n in range(1, 49)]
    assert Counter(point["capacity"] for point in points) == dict.fromkeys(
        ("swin_t", "swin_s", "swin_b", "swin_l"), 12
    )
    for rung in ("swin_t", "swin_l"):  # and each sees both halves of what is tuned beside it
        low = sum(point["optimizer.lr"] < 5e-4 for point in points if point["capacity"] == rung)
        assert 3 <= low <= 9
    assert [point["capacity"] for point in points[:4]] != [point["capacity"] for point in points[4:8]]


def test_sobol_fills_the_space_evenly():
    points = [propose(THREE, strategy="sobol", study_seed=1, number=n, told=[]) for n in range(1, 65)]
    for name in ("optimizer.lr", "optimizer.weight_decay"):
        low, high = (1e-4, 1e-1) if name == "optimizer.lr" else (1e-4, 0.3)
        cells = Counter(int(8 * math.log(point[name] / low) / math.log(high / low)) for point in points)
        assert min(cells[cell] for cell in range(8)) >= 7  # 8 each, but for the ends of the 64


def test_a_parameter_that_does_not_exist_is_not_in_the_point():
    def run(number, point):
        gated = point["model.attention"] not in ("none", "spatial")
        assert ("model.reduction" in point) == gated
        assert ("model.spatial_kernel" in point) == (
            point["model.attention"] in ("spatial", "cbam", "spatial_channel", "parallel")
        )
        error = (
            0.3 - 0.1 * (point["model.attention"] == "cbam") - 0.05 * (point.get("model.spatial_kernel") == 7)
        )
        return Told(number=number, point=point, state="done", values={"error": error})

    told = sweep(ATTENTION, run, trials=40, batch=4, seed=2)
    later = Counter(trial.point["model.attention"] for trial in told[20:])
    assert later.most_common(1)[0][0] == "cbam"


@pytest.mark.parametrize("seed", range(2))
def test_of_a_space_that_diverges_in_a_third_most_trials_do_not(seed):
    told = sweep(THREE, ended, trials=60, batch=4, seed=seed)
    assert sum(trial.state == "diverged" for trial in told) / 60 <= 0.40
    assert min(trial.values["error"] for trial in told if trial.values) < 0.205


def test_a_divergence_told_as_a_failure_would_teach_nothing():
    """Why it is told as a constraint: the same space, the same sampler."""

    def failing(number, point):
        found = ended(number, point)
        return found if found.state == "done" else Told(number=number, point=point, state="failed")

    told = sweep(THREE, failing, trials=40, batch=4)
    assert sum(trial.state == "failed" for trial in told) / 40 > 0.5


def test_what_does_not_fit_is_kept_away_from():
    """Without a training: half of the space needs too much memory."""

    def run(number, point):
        need = point["model.drop_path"] / 0.15 - 1
        if need > 0:
            return Told(
                number=number, point=point, state="infeasible", violations={"memory": need}, problem="no"
            )
        return Told(
            number=number, point=point, state="done", values={"error": 0.3}, violations={"memory": need}
        )

    told = sweep(THREE, run, trials=32, batch=4)
    assert sum(trial.state == "infeasible" for trial in told[STARTUP:]) / (32 - STARTUP) < 0.35


def trial(number, error, gmacs, speed, state="done"):
    return Told(
        number=number,
        point={},
        state=state,
        values={"error": error, "gmacs": gmacs, "images_per_second": speed},
    )


def test_the_front_is_what_nothing_beats():
    told = [
        trial(0, 0.30, 4.5, 900.0),
        trial(1, 0.25, 8.7, 500.0),
        trial(2, 0.30, 4.5, 900.0),  # equal to the first: once
        trial(3, 0.31, 4.6, 899.0),  # beaten in everything
        trial(4, 0.40, 9.0, 950.0),  # the fastest
        trial(5, 0.10, 1.0, 999.0, state="stopped"),  # not to its end
        Told(number=6, point={}, state="diverged"),
    ]
    objectives = ("error", "gmacs", "images_per_second")
    assert [found.number for found in front(told, objectives)] == [1, 0, 4]
    assert [found.number for found in front(told, ("error",))] == [1]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.3]), st.sampled_from([1.0, 2.0, 3.0])), min_size=1))
def test_nothing_beats_the_front_and_it_beats_all_else(pairs):
    told = [trial(number, error, gmacs, 1.0) for number, (error, gmacs) in enumerate(pairs)]
    best = {pairs[found.number] for found in front(told, ("error", "gmacs"))}
    assert len(best) == len(front(told, ("error", "gmacs")))
    for error, gmacs in pairs:
        assert any(e <= error and g <= gmacs for e, g in best)
        assert not any(
            (e <= error and g <= gmacs and (e, g) != (error, gmacs))
            for e, g in best
            if (error, gmacs) in best
        )


def test_several_objectives_are_searched_at_once():
    """Small errors cost much: the front has both ends, and no trial is told a value that is not finite."""

    def run(number, point):
        found = ended(number, point)
        cost = 1 + 10 * point["model.drop_path"]
        return found.model_copy(update={"values": {**found.values, "gmacs": cost}}) if found.values else found

    told = sweep(THREE, run, trials=24, batch=4, objectives=("error", "gmacs"))
    assert len(front(told, ("error", "gmacs"))) >= 2
    penalties = [
        values(found, ("error", "gmacs", "images_per_second"), told)
        for found in told
        if found.state == "diverged"
    ]
    worst = max(found.values["gmacs"] for found in told if found.values)
    assert penalties
    assert all(penalty == [1.0, worst, 0.0] for penalty in penalties)


def test_nothing_that_is_not_finite_can_be_told():
    for value in (math.nan, math.inf):
        with pytest.raises(ValidationError, match="finite"):
            Told(number=0, point={}, state="done", values={"error": value})
    with pytest.raises(ValidationError, match="trial 4 is done and has no error"):
        Told(number=4, point={}, state="done")


def test_a_suggestion_costs_little():
    import time

    told = sweep(THREE, ended, trials=60, batch=4)
    seconds = []
    for number in range(60, 70):
        began = time.process_time()
        propose(THREE, strategy="tpe", study_seed=0, number=number, told=told)
        seconds.append(time.process_time() - began)
    assert statistics.median(seconds) < 0.05
