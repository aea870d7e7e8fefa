"""Gentle ASHA: it asks by file, and never tells Ray Tune to stop."""

from types import SimpleNamespace

from tuning.asha import GentleASHA
from tuning.trial import trial_folder


def trial(out, number):
    trial_folder(out, number).mkdir(parents=True)
    return SimpleNamespace(trial_id=f"t{number}", config={"number": number})


def judge(scheduler, runner, step, top1):
    if runner.trial_id not in scheduler._trial_info:
        scheduler.on_trial_add(None, runner)
    return scheduler.on_trial_result(None, runner, {"step": step, "top1": top1})


def asked(out, number):
    return (trial_folder(out, number) / "stop").exists()


def test_the_worse_half_is_asked_to_stop_and_none_is_killed(tmp_path):
    scheduler = GentleASHA(out=tmp_path, steps=100, grace=0.25)
    good, bad = trial(tmp_path, 0), trial(tmp_path, 1)
    answers = [judge(scheduler, good, 25, 0.5), judge(scheduler, bad, 20, 0.1)]
    assert not asked(tmp_path, 1)  # 20 is before the grace's end
    answers.append(judge(scheduler, bad, 30, 0.1))
    assert answers == ["CONTINUE"] * 3
    assert asked(tmp_path, 1)
    assert not asked(tmp_path, 0)


def test_a_trial_at_its_last_step_is_not_asked(tmp_path):
    scheduler = GentleASHA(out=tmp_path, steps=100, grace=0.5)
    judge(scheduler, trial(tmp_path, 0), 50, 0.9)
    judge(scheduler, trial(tmp_path, 1), 100, 0.1)
    assert not asked(tmp_path, 1)


def test_grace_1_stops_none(tmp_path):
    scheduler = GentleASHA(out=tmp_path, steps=100, grace=1.0)
    judge(scheduler, trial(tmp_path, 0), 99, 0.9)
    judge(scheduler, trial(tmp_path, 1), 99, 0.1)
    assert not asked(tmp_path, 1)


def test_a_continued_sweep_judges_against_earlier_trials(tmp_path):
    scheduler = GentleASHA(out=tmp_path, steps=100, grace=0.25)
    scheduler.remember("earlier-0", {50: 0.8, 25: 0.5})
    late = trial(tmp_path, 1)
    judge(scheduler, late, 25, 0.6)
    assert not asked(tmp_path, 1)
    judge(scheduler, late, 50, 0.7)
    assert asked(tmp_path, 1)
