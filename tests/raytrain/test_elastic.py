"""Fewer workers on the same global batches, hangs, and the samples of a step that always fails."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import tiny_plan

from raytrain.elastic import placed, watching
from raytrain.hang import KNOWN_STEPS, LEAST_SECONDS, HangWatch
from raytrain.plan import RunPlan
from raytrain.stopping import STOP_FILE


def batch(plan: RunPlan, workers: int, micro: int, accumulation: int) -> bool:
    return workers * micro * accumulation == plan.recipe.global_batch


@given(wanted=st.sampled_from([1, 2, 4, 8]), room=st.integers(0, 12))
def test_fewer_workers_share_the_same_global_batch(wanted: int, room: int) -> None:
    plan = tiny_plan(workers=wanted)
    found = placed(plan, room)
    if room == 0:
        assert found is None
        return
    assert found is not None
    assert found.workers == max(
        n for n in range(1, min(room, wanted) + 1) if plan.recipe.global_batch % n == 0
    )
    assert batch(plan, found.workers, found.micro_batch, found.accumulation)
    assert found.micro_batch <= plan.placement.micro_batch
    if room >= wanted:
        assert found == plan.placement


def test_an_attempt_is_asked_to_stop_once_another_number_fits(tmp_path: Path) -> None:
    plan, room = tiny_plan(workers=4), [2]
    with watching(tmp_path, plan, 2, lambda: room[0], every=0.01) as watch:
        time.sleep(0.1)
        assert not watch.changed.is_set()
        assert not (tmp_path / STOP_FILE).exists()
        room[0] = 4
        assert watch.changed.wait(10)
    assert (tmp_path / STOP_FILE).exists()


def test_more_room_than_workers_is_no_change(tmp_path: Path) -> None:
    with watching(tmp_path, tiny_plan(workers=2), 2, lambda: 9, every=0.01) as watch:
        time.sleep(0.1)
    assert not watch.changed.is_set()


def test_a_step_is_long_by_ten_medians_and_never_before_some_are_known(tmp_path: Path) -> None:
    ticks = iter([0, 1, 10, 11, 20, 25, 30, 33, 40, 43.0])
    watch = HangWatch(tmp_path / "workers" / "rank-0.stacks", clock=lambda: next(ticks))
    for _ in range(KNOWN_STEPS):
        with watch.step():
            pass
    assert list(watch.seconds) == [1, 1, 5, 3, 3]
    assert watch.limit == 10 * 3
    watch.seconds.extend([0.1] * 50)
    assert watch.limit == LEAST_SECONDS
    watch.close()


def test_stacks_of_a_long_step_say_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raytrain.hang.LEAST_SECONDS", 0.2)
    watch = HangWatch(tmp_path / "stacks")
    for _ in range(KNOWN_STEPS):
        with watch.step():
            pass
    assert (tmp_path / "stacks").read_text() == ""
    with watch.step():
        wait_for_a_peer()
    watch.close()
    assert "in wait_for_a_peer" in (tmp_path / "stacks").read_text()


def wait_for_a_peer() -> None:
    time.sleep(0.5)


def test_the_samples_of_a_step_are_named_by_key(small_set: str, tmp_path: Path) -> None:
    from raytrain.job import Job
    from raytrain.suspects import SUSPECTS, write_suspects

    plan = tiny_plan()
    (tmp_path / "run").mkdir()
    said = write_suspects(Job(plan=plan, data_url=small_set, run=str(tmp_path / "run")), 3)
    many = plan.recipe.samples_per_step
    assert said == f"the keys of its {many} samples are in {tmp_path}/run/{SUSPECTS}"
    lines = [json.loads(line) for line in (tmp_path / "run" / SUSPECTS).read_text().splitlines()]
    assert [line["slot"] for line in lines] == list(range(2 * many, 3 * many))
    assert {line["step"] for line in lines} == {3}
    assert all(line["key"].partition("/")[0].startswith("n") or line["key"] for line in lines)
    assert len({line["key"] for line in lines}) == many
