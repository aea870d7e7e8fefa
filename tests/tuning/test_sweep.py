"""A real sweep: nested Ray Train trials that finish, diverge and are stopped, and give back all they took."""

import shlex
import time

import pytest
from sweeps import small_set, small_sweep

from raytrain.plan import RunPlan
from raytrain.runlog import METRICS
from raytrain.runlog import read_rows as lines
from raytrain.settings import change, parse
from tuning.dimension import Choice
from tuning.trial import trial_folder

GOOD, HUGE = 2e-3, 1e30
EVALUATED = (*range(12, 80, 12), 80)
SPACE = {"optimizer.lr": Choice(values=(GOOD, HUGE))}


@pytest.mark.ray
@pytest.mark.timeout(1500)
def test_a_sweep_with_every_ending_leaves_nothing_behind(tmp_path):
    import optuna
    import ray
    from ray.util import placement_group_table

    from cluster.connect import connected
    from raytrain.driver import environment
    from tuning.study import open_study
    from tuning.sweep import run_sweep
    from tuning.table import best, command, read_rows

    sweep, out, told = small_sweep(small_set(tmp_path), SPACE), tmp_path / "out", []

    def run(trials):
        run_sweep(sweep, out=out, trials=trials, concurrency=1, address=None, say=told.append)

    with connected("local", environment(sweep.plan)):
        run(1)  # the recipe's own values: nothing to be judged against, it finishes
        study = open_study(out)
        perfect = dict.fromkeys(EVALUATED, 1.0)
        study.add_trial(earlier(sweep, perfect))  # number 1: now whoever is judged is stopped
        study.enqueue_trial({"optimizer.lr": HUGE})
        study.enqueue_trial({"optimizer.lr": GOOD})
        run(4)
        until = time.monotonic() + 300
        while left := [group for group in placement_group_table().values() if group["state"] != "REMOVED"]:
            assert time.monotonic() < until, left
        while ray.available_resources().get("CPU") != ray.cluster_resources()["CPU"]:
            assert time.monotonic() < until, ray.available_resources()
        run(4)  # finished: nothing is run again

    rows = {row.trial: row for row in read_rows(out)}
    assert {number: row.state for number, row in rows.items()} == {
        0: "finished",
        1: "finished",
        2: "diverged",
        3: "stopped",
    }
    assert "were not finite" in rows[2].problem
    assert 12 < rows[3].step < 80
    assert lines(trial_folder(out, 3) / METRICS)[-1]["step"] == rows[3].step
    assert (trial_folder(out, 3) / "checkpoints" / f"step-{rows[3].step:08d}" / "MANIFEST.json").exists()
    stored = optuna.load_study(study_name=None, storage=f"sqlite:///{out / 'study.db'}").trials
    assert [trial.value for trial in stored] == [rows[0].top1, 1.0, 0.0, rows[3].top1]
    assert set(stored[0].intermediate_values) == set(EVALUATED)
    assert sum("to go" in line for line in told) == 2

    winner = best([rows[0]])
    words = shlex.split(command("smoke_swin_22k", "D", out / "best", {}, {**shown(sweep), **winner.changes}))
    settings = parse([words[at + 1] for at, word in enumerate(words) if word == "--set"])
    held = RunPlan.model_validate_json((trial_folder(out, 0) / "plan.json").read_bytes())
    assert change(held.recipe, settings) == held.recipe
    assert settings["optimizer.lr"] == GOOD


def shown(sweep):
    return {"epochs": sweep.plan.recipe.epochs, "global_batch": sweep.plan.recipe.global_batch}


def earlier(sweep, evaluations):
    """A trial that had every evaluation right."""
    import optuna

    from tuning.search.tpe import distribution
    from tuning.trial import Outcome

    outcome = Outcome(state="finished", step=80, top1=1.0)
    return optuna.trial.create_trial(
        value=1.0,
        params={"optimizer.lr": GOOD},
        distributions={"optimizer.lr": distribution(SPACE["optimizer.lr"])},
        intermediate_values=evaluations,
        user_attrs={"outcome": outcome.model_dump(mode="json")},
    )
