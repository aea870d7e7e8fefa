"""The study: a sweep's ledger, an Optuna storage that `optuna.load_study` and optuna-dashboard open.

Ray Tune asks it for trials and tells it how they ended. A trial that an interrupted sweep left running is given
out again, with its number and folder, and goes on from its own checkpoint.
"""

from pathlib import Path
from typing import Any

import optuna
from numpy.random import Philox
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search.optuna import OptunaSearch

from raytrain.errors import RunError
from tuning.search.tpe import distribution, quiet_optuna
from tuning.trial import WORST, Outcome, Sweep, outcome_file

STUDY, NAME = "study.db", "sweep"
RANDOM_TRIALS = 4  # before TPE's model; Optuna's own default of 10 would leave a sweep of 8 all random
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


def open_study(out: Path) -> optuna.Study:
    """The sweep's study, made where there is none. It maximizes top-1."""
    quiet_optuna()
    storage = optuna.storages.RDBStorage(f"sqlite:///{out / STUDY}")
    return optuna.create_study(storage=storage, study_name=NAME, direction="maximize", load_if_exists=True)


def ended(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that need not be run again."""
    return list(study.get_trials(deepcopy=False, states=ENDED))


def failed(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that broke without a verdict on their values."""
    return list(study.get_trials(deepcopy=False, states=(TrialState.FAIL,)))


class StudySearch(OptunaSearch):  # type: ignore[misc]  # Ray is untyped
    """OptunaSearch with TPE, the recipe's own values first, that goes on from what its storage holds."""

    def __init__(self, sweep: Sweep, out: Path) -> None:
        study = open_study(out)
        first = sweep.space.own_point
        if first:
            study.enqueue_trial(first, skip_if_exists=True)
        self.out, self.sweep_seed, self.space = out, sweep.seed, sweep.space
        self.interrupted = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        super().__init__(
            {param.name: distribution(param.dimension) for param in sweep.space.params},
            metric="top1",
            mode="max",
            sampler=sampler(sweep.seed, 0),
            storage=study._storage,
            study_name=NAME,
        )

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """The next trial: its number and the changes to the recipe."""
        study = self._ot_study
        study.sampler = sampler(self.sweep_seed, len(study.trials))
        if self.interrupted:
            self._ot_trials[trial_id] = optuna.Trial(study, self.interrupted.pop(0)._trial_id)
        changes = self.space.settings(super().suggest(trial_id))
        return {"number": self._ot_trials[trial_id].number, "changes": changes}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Store an evaluation at its optimizer step."""
        trial = self._ot_trials[trial_id]
        if (
            "top1" in result
            and result["step"] not in trial.storage.get_trial(trial._trial_id).intermediate_values
        ):
            trial.report(result["top1"], result["step"])

    def on_trial_complete(
        self,
        trial_id: str,
        result: dict[str, Any] | None = None,  # noqa: ARG002 -- the outcome is on disk
        error: bool = False,
    ) -> None:
        """Tell the study. A trial without an outcome was interrupted and stays running, unless it broke."""
        trial = self._ot_trials[trial_id]
        file = outcome_file(self.out, trial.number)
        if file.exists():
            tell(self._ot_study, trial, Outcome.model_validate_json(file.read_bytes()))
        elif error:
            problem = f"the trial's driver process died; Ray's own files are in {self.out / 'ray'}"
            tell(self._ot_study, trial, Outcome(state="failed", step=0, top1=None, problem=problem))


def tell(study: optuna.Study, trial: optuna.Trial, outcome: Outcome) -> None:
    """Store how a trial ended: finished and diverged are COMPLETE, stopped is PRUNED, failed is FAIL."""
    trial.set_user_attr("outcome", outcome.model_dump(mode="json"))
    if outcome.state == "failed":
        study.tell(trial, state=TrialState.FAIL)
    elif outcome.state == "stopped":
        study.tell(trial, state=TrialState.PRUNED)  # Optuna takes its last evaluation for its value
    else:
        study.tell(trial, WORST if outcome.state == "diverged" else outcome.top1)


def sampler(seed: int, number: int) -> optuna.samplers.TPESampler:
    """The sampler of one trial: what is random is a function of (seed, number), so a continued sweep draws anew."""
    drawn = int(Philox(key=[seed, number]).random_raw() >> 32)
    return optuna.samplers.TPESampler(
        seed=drawn, n_startup_trials=RANDOM_TRIALS, multivariate=True, constant_liar=True
    )


def outcome_of(trial: FrozenTrial) -> Outcome:
    """How a told trial ended. Raises RunError for a study that `raytrain tune` did not write."""
    if "outcome" not in trial.user_attrs:
        raise RunError(f"trial {trial.number} of {STUDY} was not told by raytrain tune; use another --out")
    return Outcome.model_validate(trial.user_attrs["outcome"])
