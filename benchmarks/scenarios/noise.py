"""A world whose seeds differ by more than any change does: nothing can be told, and that is the right answer.

Its errors are drawn, not trained: it is the one scenario of which only the noise matters.
"""

import random
from collections.abc import Callable, Sequence

from scenarios.world import MINIVAL, Scenario, offered
from tuning.dimension import Settings
from tuning.method.state import identity
from tuning.method.values import Change, Check, Rate, Reading, Trial

ERROR, SEEDS = 0.20, 0.03
EFFECTS = {
    "capacity_up": -0.010,
    "lr_up": -0.008,
    "regularize_up": -0.006,
    "half_data": 0.010,
    "quarter_data": 0.025,
}
"""What each change does on average; the others nothing. Three pairs have a standard error of 0.024."""

MORE_DATA = (
    -0.0067
)  # the next doubling, on the curve a m^-b + c through those of half and a quarter of the images


class NoisyWorld:
    """A scenario of which each seed's error is drawn around its mean."""

    def __init__(self, scenario: Scenario, draw: int) -> None:
        self.scenario, self.draw = scenario, draw

    def checks(self) -> tuple[Check, ...]:
        """All is green."""
        return ()

    def changes(self, settings: Settings) -> tuple[Change, ...]:
        """As of any scenario."""
        return offered(settings, relabel=False)

    def cost(self, trial: Trial) -> float:
        """Twice as wide or as long is twice as dear."""
        change = trial.change
        return (2.0 if change and change.kind in ("capacity_up", "longer") else 1.0) * trial.length

    def train(self, trials: Sequence[Trial], done: Callable[[Trial, Reading], None]) -> None:
        """Draw."""
        for trial in trials:
            error = self.truth(trial) + random.Random(f"{self.draw} {identity(trial)}").gauss(0, SEEDS)
            rate = Rate(wrong=round(max(0.0, error) * MINIVAL), of=MINIVAL)
            done(
                trial,
                Reading(
                    state="done",
                    classes=self.scenario.classes,
                    train_samples=round(self.scenario.images * (trial.change.data if trial.change else 1)),
                    train=Rate(wrong=round(0.1 * MINIVAL), of=MINIVAL),
                    minival=rate,
                    initial_loss=None,
                    steps=self.scenario.steps,
                    gpu_hours=self.cost(trial),
                ),
            )

    def look(self, trial: Trial) -> Rate:
        """The mean."""
        return Rate(wrong=round(self.truth(trial) * MINIVAL), of=MINIVAL)

    def truth(self, trial: Trial) -> float:
        """The error over endless seeds."""
        return ERROR + EFFECTS.get(trial.change.kind if trial.change else "", 0.0)
