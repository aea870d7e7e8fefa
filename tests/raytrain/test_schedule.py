"""The learning rate's curves: ends, bounds, continuity, drops."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import paper_shardset, tiny_plan, tiny_recipe

from cluster.fleet import presets
from raytrain.plan import Lengths, resolve
from raytrain.recipe import Schedule
from raytrain.recipes import recipe
from raytrain.schedule import learning_rate, lr_factor

FRACTION = st.floats(0, 1)


def lengths(steps, warmup, drop_every=None):
    return Lengths(
        steps_per_epoch=1,
        steps=steps,
        warmup_steps=warmup,
        lr_drop_every=drop_every,
        evaluate_every=1,
        checkpoint_every=1,
    )


@st.composite
def runs(draw, *shapes):
    """Lengths and a schedule, of up to 5000 steps."""
    steps = draw(st.integers(1, 5000))
    shape = draw(st.sampled_from(shapes))
    schedule = Schedule(
        shape=shape, warmup_start=draw(FRACTION), end=draw(FRACTION), step_factor=draw(FRACTION)
    )
    drop_every = draw(st.integers(1, 5000)) if shape == "step" else None
    return lengths(steps, draw(st.integers(0, steps)), drop_every), schedule


falling = runs("cosine", "linear")
anything = runs("cosine", "linear", "step", "constant")


@given(falling, st.data())
def test_factor_stays_between_its_ends(run, data):
    long, schedule = run
    step = data.draw(st.integers(0, long.steps - 1))
    lowest = schedule.warmup_start if step < long.warmup_steps else schedule.end
    assert lowest - 1e-12 <= lr_factor(step, *run) <= 1 + 1e-12


@given(anything)
def test_the_warm_up_begins_and_ends_exactly(run):
    long, schedule = run
    if long.warmup_steps:
        assert lr_factor(0, *run) == schedule.warmup_start
    if long.warmup_steps < long.steps and schedule.shape != "step":
        assert lr_factor(long.warmup_steps, *run) == 1.0


@given(falling)
def test_what_falls_ends_exactly(run):
    long, schedule = run
    if long.warmup_steps < long.steps - 1:
        assert lr_factor(long.steps - 1, *run) == schedule.end


@given(falling, st.data())
def test_no_step_jumps(run, data):
    long, schedule = run
    step = data.draw(st.integers(0, long.steps))
    if step + 1 >= long.steps:
        return
    jump = lr_factor(step + 1, *run) - lr_factor(step, *run)
    if step < long.warmup_steps:
        assert -1e-12 <= jump <= 1 / long.warmup_steps + 1e-12
    else:
        steepest = 1.6 if schedule.shape == "cosine" else 1  # pi / 2, rounded up
        assert jump <= 1e-12
        assert -jump <= steepest / (long.steps - 1 - long.warmup_steps) + 1e-12


@given(runs("step"), st.data())
def test_steps_are_flat_between_drops_by_the_factor(run, data):
    long, schedule = run
    step = data.draw(st.integers(0, long.steps - 1))
    if step >= long.warmup_steps:
        assert lr_factor(step, *run) == schedule.step_factor ** (step // long.lr_drop_every)


@given(runs("constant"), st.data())
def test_constant_is_constant(run, data):
    long, _ = run
    step = data.draw(st.integers(0, long.steps - 1))
    if step >= long.warmup_steps:
        assert lr_factor(step, *run) == 1.0


def test_the_middle_of_each_part():
    long = lengths(31, 10)
    cosine, linear = (Schedule(shape=shape, warmup_start=0.0, end=0.2) for shape in ("cosine", "linear"))
    assert lr_factor(5, long, cosine) == lr_factor(5, long, linear) == 0.5
    assert lr_factor(20, long, cosine) == pytest.approx(0.6)
    assert lr_factor(20, long, linear) == pytest.approx(0.6)
    assert lr_factor(15, long, cosine) == pytest.approx(0.2 + 0.8 * 0.853553)  # (1 + cos 45 degrees) / 2
    assert lr_factor(15, long, linear) == pytest.approx(0.8)


def test_the_cbam_repositorys_drops_by_hand():
    """0.1, / 10 every 30 epochs of 5,004.56 steps: 150,137 steps. 100 epochs of them end at 1e-4."""
    plan = resolve(
        recipe("cbam_resnext50_1k_2018"), presets()["h200x8"], paper_shardset(1_281_167, 50_000, 1000)
    )
    assert (plan.lengths.warmup_steps, plan.lengths.lr_drop_every) == (0, 150_137)
    assert plan.because["lengths.lr_drop_every"] == "30 epochs x 1,281,167 images / 256"
    rates = [
        learning_rate(plan, step) for step in (0, 150_136, 150_137, 300_274, 450_411, plan.lengths.steps - 1)
    ]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.001, 1e-4, 1e-4])


def test_a_drop_interval_is_never_zero_steps():
    schedule = {**tiny_recipe().schedule.model_dump(), "shape": "step", "step_epochs": 1e-6}
    assert tiny_plan(schedule=schedule).lengths.lr_drop_every == 1
