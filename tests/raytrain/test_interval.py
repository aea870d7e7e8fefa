"""How often to save: against a simulation of failures, and against what is known of the rule."""

import pytest
from plans import tiny_plan

from raytrain.plan.interval import FAILURE_HOURS, in_steps, interval_minutes, stall_seconds

GB = 10**9


def overhead(seconds: float, stall: float, apart: float) -> float:
    """The share of time that is lost: a stall per interval, and half an interval per failure."""
    return stall / seconds + seconds / 2 / apart


@pytest.mark.parametrize("workers", [8, 64, 1024])
def test_no_other_interval_loses_less(workers: int) -> None:
    stall, apart = stall_seconds(2 * GB), FAILURE_HOURS * 3600 / workers
    advised = interval_minutes(2 * GB, workers) * 60
    least = overhead(advised, stall, apart)
    assert all(least < overhead(advised * factor, stall, apart) for factor in (0.5, 0.9, 1.1, 2))
    assert stall / advised <= 0.02


def test_stalls_stay_below_their_share_however_often_workers_fail() -> None:
    assert interval_minutes(10 * GB, 10**6) * 60 == pytest.approx(10 / 0.02)


def test_64_gpus_save_2_gb_every_22_minutes() -> None:
    """sqrt(2 x 2 s x 126.4 h)."""
    assert interval_minutes(2 * GB, 64) == pytest.approx(22.5, abs=0.1)


def test_steps_are_known_where_the_speed_is() -> None:
    lengths = tiny_plan().lengths
    assert in_steps(30, None, lengths) is None
    assert in_steps(30, 2.0, lengths) == round(lengths.steps / 4)
    assert in_steps(300, 2.0, lengths) == lengths.steps
