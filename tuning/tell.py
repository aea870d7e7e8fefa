"""Words of a sweep: a line for each trial's start, evaluations and end, instead of Ray Tune's tables."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback

from tuning.trial import Outcome, outcome_file


class Teller(TrialProgressCallback):  # type: ignore[misc]  # Ray is untyped
    """In the place of the callback of that kind that Ray Tune would add. All is called by keyword."""

    def __init__(self, out: Path, say: Callable[[str], None]) -> None:
        super().__init__()
        self.out, self.say = out, say

    def on_trial_start(self, *, trial: Trial, **_: Any) -> None:
        """Say what it tries."""
        changes = "  ".join(f"{path}={short(value)}" for path, value in trial.config["changes"].items())
        self.say(f"{name(trial)}  started   {changes}")

    def on_trial_result(self, *, trial: Trial, result: dict[str, Any], **_: Any) -> None:
        """Say what an evaluation found."""
        if "top1" in result:
            self.say(f"{name(trial)}  step {result['step']:6d}  top-1 {result['top1']:6.1%}")

    def on_trial_complete(self, *, trial: Trial, **_: Any) -> None:
        """Say how it ended."""
        file = outcome_file(self.out, trial.config["number"])
        if file.exists():
            self.say(f"{name(trial)}  {ending(Outcome.model_validate_json(file.read_bytes()))}")

    def on_trial_error(self, *, trial: Trial, **_: Any) -> None:
        """Say that its driver broke."""
        self.say(f"{name(trial)}  failed: its driver process died, see {self.out / 'ray'}")


def name(trial: Trial) -> str:
    """A trial's number, in a column."""
    return f"trial {trial.config['number']:3d}"


def ending(outcome: Outcome) -> str:
    """How a trial ended, in words."""
    top1 = "not evaluated" if outcome.top1 is None else f"top-1 {outcome.top1:.1%}"
    text = f"{outcome.state} at step {outcome.step}, {top1}"
    return f"{text}: {outcome.problem}" if outcome.problem else text


def short(value: Any) -> str:
    """A value for people: four digits are enough."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
