"""The study: what is told, what is drawn, and what a continued sweep finds in it."""

import optuna
import pytest
from optuna.trial import TrialState
from sweeps import small_set, small_sweep

from raytrain.errors import RunError, UsageError
from tuning.dimension import Choice, Range
from tuning.study import StudySearch, ended, failed, open_study, outcome_of
from tuning.sweep import check_lengths, claim
from tuning.table import best, read_rows
from tuning.trial import SWEEP, Outcome, outcome_file

SPACE = {
    "optimizer.lr": Range(low=1e-4, high=1e-1, log=True),
    "optimizer.name": Choice(values=("adamw", "sgd")),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_set(tmp_path_factory.mktemp("study"))


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out" / "trials").mkdir(parents=True)
    return tmp_path / "out"


def search_in(out, sweep):
    (out / SWEEP).write_text(sweep.model_dump_json())
    return StudySearch(sweep, out)


def end(out, search, trial_id, number, outcome):
    outcome_file(out, number).write_text(outcome.model_dump_json())
    search.on_trial_complete(trial_id, {})


def test_the_first_trial_has_the_recipes_own_values(data, out):
    search = search_in(out, small_sweep(data, SPACE))
    assert search.suggest("a") == {"number": 0, "changes": {"optimizer.lr": 2e-3, "optimizer.name": "adamw"}}
    assert search.suggest("b")["changes"]["optimizer.lr"] != 2e-3


def test_every_ending_is_told_as_optuna_has_it(data, out):
    search = search_in(out, small_sweep(data, SPACE))
    outcomes = [
        Outcome(state="finished", step=80, top1=0.75),
        Outcome(state="stopped", step=40, top1=0.5),
        Outcome(state="diverged", step=11, top1=0.9, problem="11 steps in a row were not finite"),
        Outcome(state="failed", step=0, top1=None, problem="the disk is full"),
    ]
    for number, outcome in enumerate(outcomes):
        search.suggest(f"t{number}")
        search.on_trial_result(f"t{number}", {"step": 40, "top1": 0.5, "training_iteration": 1})
        end(out, search, f"t{number}", number, outcome)
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{out / 'study.db'}")
    assert [trial.state for trial in study.trials] == [
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.COMPLETE,
        TrialState.FAIL,
    ]
    assert [trial.value for trial in study.trials] == [0.75, 0.5, 0.0, None]
    assert study.trials[0].intermediate_values == {40: 0.5}
    assert [outcome_of(trial) for trial in study.trials] == outcomes
    assert study.best_trial.number == 0
    rows = read_rows(out)
    assert [row.trial for row in rows] == [2, 0, 1, 3]
    assert best(rows).trial == 0  # a diverged or stopped trial is never the best


def test_a_trial_whose_driver_died_failed(data, out):
    search = search_in(out, small_sweep(data, SPACE))
    search.suggest("a")
    search.on_trial_complete("a", error=True)
    assert "driver process died" in outcome_of(failed(open_study(out))[0]).problem
    with pytest.raises(
        RunError, match="no trial of 1 trained to its end; the first problem: the trial's driver"
    ):
        best(read_rows(out))


def test_an_interrupted_trial_is_given_out_again(data, out):
    sweep = small_sweep(data, SPACE)
    first = StudySearch(sweep, out)
    first.suggest("a")
    end(out, first, "a", 0, Outcome(state="finished", step=80, top1=0.5))
    lost = first.suggest("b")
    first.on_trial_complete("b", {"top1": 0.25, "step": 8})  # Ray Tune ends: there is no outcome

    again = StudySearch(sweep, out)
    assert [trial.number for trial in ended(open_study(out))] == [0]
    assert again.suggest("c") == lost
    assert again.suggest("d")["number"] == 2  # and the recipe's own values are not tried twice


def test_a_continued_search_draws_what_it_would_have_drawn(data, tmp_path):
    drawn = {}
    for name, restarts in (("whole", ()), ("continued", (3, 5))):
        (tmp_path / name / "trials").mkdir(parents=True)
        sweep = small_sweep(data, SPACE)
        search = StudySearch(sweep, tmp_path / name)
        drawn[name] = []
        for number in range(7):
            if number in restarts:
                search = StudySearch(sweep, tmp_path / name)
            suggestion = search.suggest(f"t{number}")
            drawn[name].append(suggestion["changes"])
            top1 = 1 / (1 + suggestion["changes"]["optimizer.lr"])
            end(tmp_path / name, search, f"t{number}", number, Outcome(state="finished", step=80, top1=top1))
    assert drawn["whole"] == drawn["continued"]
    assert len({point["optimizer.lr"] for point in drawn["whole"]}) == 7


def test_another_sweep_is_refused_with_what_differs(data, out):
    (out / "trials").rmdir()
    claim(out, small_sweep(data, SPACE))
    claim(out, small_sweep(data, SPACE))
    other = {"optimizer.lr": Range(low=1e-4, high=1.0, log=True)}
    with pytest.raises(RunError) as refused:
        claim(out, small_sweep(data, other, seed=1))
    assert "optimizer.lr: scientific, log:0.0001:0.1 -> scientific, log:0.0001:1.0" in str(refused.value)
    assert 'optimizer.name: scientific, choice:adamw,sgd -> fixed, "adamw"' in str(refused.value)
    assert "--seed: 0 -> 1" in str(refused.value)


def test_other_files_are_left_alone(data, out):
    with pytest.raises(RunError, match=r"holds other files \(trials, ...\)"):
        claim(out, small_sweep(data, SPACE))


def test_trials_of_other_lengths_are_refused(data):
    with pytest.raises(
        UsageError, match=r"at 2\.0 a trial has 8 steps, evaluated every 12, the recipe's own 80 and 12"
    ):
        check_lengths(small_sweep(data, {"epochs": Range(low=2, high=9)}))
    check_lengths(small_sweep(data, {"schedule.warmup_epochs": Range(low=0, high=4)}))
