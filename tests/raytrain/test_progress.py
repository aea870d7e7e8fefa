"""What a person sees while a run goes on: each evaluation once, with the speed of the steps before it."""

import re
from pathlib import Path

import pytest
from fake_run import FakeRun
from plans import tiny_plan
from rich.console import Console

from raytrain.progress import Pulse, Teller, _bar, _update, following, left, speed


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


def test_a_log_hears_of_a_run_that_was_quiet_for_a_minute(tmp_path: Path) -> None:
    fake, told, now = FakeRun(tmp_path / "run", tiny_plan(), "d", top1=0.9), [], [0.0]
    pulse = Pulse(fake.run, 50, told.append, lambda: now[0])
    for now[0] in (59, 120, 179):
        pulse.beat()
    assert told == ["  no step is done yet, after 2 min"]
    fake.train(10)
    for now[0] in (239, 240):
        pulse.beat()
    assert told[1].startswith("  step 10 of 50  loss ")
    assert told[1].endswith(" min left")
    pulse.say("an evaluation")
    for now[0] in (299, 300):
        pulse.beat()
    assert told[2] == "an evaluation"
    assert len(told) == 4


@pytest.mark.parametrize(("seconds", "words"), [(3.0, "about 2 min left"), (600.0, "about 7 h left")])
def test_what_is_left_goes_by_the_newest_steps(seconds: float, words: str) -> None:
    assert left([{"step": 10, "seconds": seconds}], 50) == words


def test_the_bar_fits_a_terminal_of_80_columns(tmp_path: Path) -> None:
    fake = FakeRun(tmp_path / "run", tiny_plan(), "d", top1=0.9).train(25)
    bar, task = _bar(fake.plan)
    _update(bar, task, fake.run)
    page = Console(width=80)
    with page.capture() as shown:
        page.print(bar.get_renderable())
    assert re.search(r"25/50 loss \d\.\d+  [\d.]+ img/s  data wait \d+% +[-\d]", shown.get())
