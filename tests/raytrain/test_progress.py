"""What a person sees while a run goes on: each evaluation once, with the speed of the steps before it."""

from pathlib import Path

import pytest
from fake_run import FakeRun
from plans import tiny_plan

from raytrain.progress import Teller, following, speed


def test_each_evaluation_is_told_once(tmp_path: Path) -> None:
    fake, told = FakeRun(tmp_path / "run", tiny_plan(), "d", top1=0.9), []
    teller = Teller(fake.run, told.append)
    fake.train(fake.plan.lengths.evaluate_every)
    teller.tell()
    teller.tell()
    assert len(told) == 1
    assert told[0].split()[:4] == ["epoch", "1.0", "step", "25"]
    assert "img/s  data wait" in told[0]
    fake.train(fake.plan.lengths.steps)
    teller.tell()
    assert [line.split()[3] for line in told] == ["25", "50"]


def test_a_continued_run_tells_nothing_twice(tmp_path: Path) -> None:
    fake, told = FakeRun(tmp_path / "run", tiny_plan(), "d", top1=0.9).train(25), []
    Teller(fake.run, told.append).tell()
    assert told == []


def test_speed_is_images_over_all_seconds_and_waiting_a_share_of_them() -> None:
    rows = [
        {"seconds": 0.5, "wait_seconds": 0.1, "images": 64, "loss": 2.0},
        {"seconds": 1.5, "wait_seconds": 0.1, "images": 64, "loss": None},
    ]
    assert speed(rows) == "loss 2.000  64 img/s  data wait 10%"


def test_what_was_written_at_the_very_end_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake = FakeRun(tmp_path / "run", tiny_plan(), "d", top1=0.9)
    with following(fake.run, fake.plan, every=60):
        fake.train(fake.plan.lengths.steps)
    assert capsys.readouterr().out.count("top-1") == 2
