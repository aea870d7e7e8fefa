"""The Optuna storage: what Optuna's own tools find in it."""

import optuna
from optuna.trial import TrialState

from raytrain.recipes import recipe
from tuning.search.optuna_view import write_optuna
from tuning.search.sampler import propose
from tuning.search.told import Told
from tuning.spaces import space

SPACE = space("cbam_attention", recipe("smoke_resnext_cbam_22k"), "1k")
POINTS = [propose(SPACE, strategy="sobol", study_seed=0, number=number, told=[]) for number in range(6)]
TOLD = [
    Told(number=5, point=POINTS[5], state="infeasible", violations={"memory": 0.5}, problem="needs 4 GiB"),
    Told(
        number=0,
        point=POINTS[0],
        state="done",
        values={"error": 0.2, "gmacs": 1.0},
        rungs=((100, 0.5), (200, 0.2)),
    ),
    Told(number=1, point=POINTS[1], state="diverged", rungs=((100, 0.9),), problem="not finite"),
    Told(
        number=2, point=POINTS[2], state="stopped", values={"error": 0.4, "gmacs": 2.0}, rungs=((100, 0.4),)
    ),
    Told(number=3, point=POINTS[3], state="failed", problem="the worker died"),
]


def test_a_sweep_is_a_study_that_optuna_loads(tmp_path):
    (tmp_path / ".optuna.db.part").write_text("of a writer that was killed")
    assert write_optuna(tmp_path, SPACE, TOLD) == tmp_path / "optuna.db"
    assert [path.name for path in tmp_path.iterdir()] == ["optuna.db"]

    study = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path / 'optuna.db'}")
    trials = study.trials
    assert [trial.state for trial in trials] == [
        TrialState.COMPLETE,
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.FAIL,
        TrialState.RUNNING,  # number 4 has told nothing
        TrialState.COMPLETE,
    ]
    assert [trial.params for trial in trials] == [*POINTS[:4], {}, POINTS[5]]
    assert [trial.values for trial in trials] == [[0.2], [1.0], [0.4], None, None, [1.0]]
    assert trials[0].intermediate_values == {100: 0.5, 200: 0.2}
    assert trials[1].constraints == {"finite": 1.0}
    assert trials[5].constraints == {"finite": 0.0, "memory": 0.5}
    assert trials[5].user_attrs == {"state": "infeasible", "problem": "needs 4 GiB", "values": {}}
    assert study.best_trial.number == 0
    assert study.metric_names == ["error"]
    assert study.user_attrs["space"]["schedule.shape"] == 'fixed, "cosine"'
