"""A sweep as an Optuna storage, made from what its ledger told: for optuna-dashboard, and for Optuna's own analyses.

    optuna-dashboard sqlite:///STUDY/optuna.db

It is a view: made anew whenever asked for, never read back. States are those that Optuna's tools expect: a trial
that was stopped is PRUNED at its last error, one that diverged or does not fit is COMPLETE with its constraints and the
worst value, one of which nothing is known is FAIL.
"""

from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuning.search.told import Objective, Told, direction, values
from tuning.search.tpe import distribution, quiet_optuna
from tuning.space import Space

OPTUNA, NAME = "optuna.db", "sweep"


def write_optuna(
    study: Path, space: Space, told: Sequence[Told], objectives: Sequence[Objective] = ("error",)
) -> Path:
    """Write the storage anew, and give its file. Trials are in order of their numbers, which Optuna counts from 0.

    A number that has not told anything (it is running) is a RUNNING trial without parameters.
    """
    quiet_optuna()
    file = study / OPTUNA
    draft = study / f".{OPTUNA}.part"
    draft.unlink(missing_ok=True)
    storage = optuna.storages.RDBStorage(f"sqlite:///{draft}")
    made = optuna.create_study(
        study_name=NAME,
        storage=storage,
        directions=[direction(objective) for objective in objectives],
    )
    made.set_metric_names(list(objectives))
    made.set_user_attr("space", space.lines())
    distributions = {param.name: distribution(param.dimension) for param in space.params}
    by_number = {trial.number: trial for trial in told}
    made.add_trials(
        [
            _row(by_number[number], distributions, objectives, told)
            if number in by_number
            else create_trial(state=TrialState.RUNNING)
            for number in range(max(by_number, default=-1) + 1)
        ]
    )
    storage.engine.dispose()
    draft.replace(file)
    return file


def _row(
    trial: Told,
    distributions: dict[str, BaseDistribution],
    objectives: Sequence[Objective],
    told: Sequence[Told],
) -> FrozenTrial:
    state = {"stopped": TrialState.PRUNED, "failed": TrialState.FAIL}.get(trial.state, TrialState.COMPLETE)
    found = None if state is TrialState.FAIL else values(trial, objectives, told)
    return create_trial(
        state=state,
        values=found,
        params=trial.point,
        distributions={name: distributions[name] for name in trial.point},
        intermediate_values={} if len(objectives) > 1 else dict(trial.rungs),
        constraints=None if state is TrialState.FAIL else trial.constraints,
        user_attrs={"state": trial.state, "problem": trial.problem, "values": dict(trial.values)},
    )
