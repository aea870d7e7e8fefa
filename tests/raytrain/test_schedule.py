"""The learning rate's curve: ends, bounds, continuity."""

from hypothesis import given
from hypothesis import strategies as st

from raytrain.recipe import Schedule
from raytrain.schedule import lr_factor


@st.composite
def runs(draw):
    steps = draw(st.integers(1, 5000))
    fraction = st.floats(0, 1)
    schedule = Schedule(warmup_start=draw(fraction), end=draw(fraction))
    return {"steps": steps, "warmup_steps": draw(st.integers(0, steps)), "schedule": schedule}


@given(runs(), st.data())
def test_factor_stays_between_its_ends_and_turns_once(run, data):
    step = data.draw(st.integers(0, run["steps"] - 1))
    start, end, here = run["schedule"].warmup_start, run["schedule"].end, lr_factor(step, **run)
    assert (start if step < run["warmup_steps"] else end) - 1e-12 <= here <= 1 + 1e-12


@given(runs())
def test_ends_are_exact(run):
    steps, warmup = run["steps"], run["warmup_steps"]
    if warmup:
        assert lr_factor(0, **run) == run["schedule"].warmup_start
    if warmup < steps:
        assert lr_factor(warmup, **run) == 1.0
    if warmup < steps - 1:
        assert lr_factor(steps - 1, **run) == run["schedule"].end


@given(runs(), st.data())
def test_no_step_jumps(run, data):
    step = data.draw(st.integers(0, run["steps"]))
    steps, warmup = run["steps"], run["warmup_steps"]
    if step + 1 >= steps:
        return
    jump = lr_factor(step + 1, **run) - lr_factor(step, **run)
    if step < warmup:
        assert -1e-12 <= jump <= 1 / warmup + 1e-12
    else:
        assert jump <= 1e-12
        assert -jump <= 1.6 / (steps - 1 - warmup) + 1e-12  # pi / 2, the cosine's steepest


def test_the_middle_of_each_part():
    run = {"warmup_steps": 10, "steps": 31, "schedule": Schedule(warmup_start=0.0, end=0.2)}
    assert lr_factor(5, **run) == 0.5
    assert abs(lr_factor(20, **run) - 0.6) < 1e-12
