"""The world that the methodology acts in: real recipes on a cluster, or a made-up one whose answer is known."""

from collections.abc import Callable, Sequence
from typing import Protocol

from tuning.dimension import Settings
from tuning.method.values import Change, Check, Rate, Reading, Trial


class World(Protocol):
    """What can be measured, what can be changed, and what it costs."""

    def checks(self) -> tuple[Check, ...]:
        """The preflight: minutes, before anything else is spent."""
        ...

    def changes(self, settings: Settings) -> tuple[Change, ...]:
        """The probes that can be made from these settings: at most one of each kind, what exists alone."""
        ...

    def cost(self, trial: Trial) -> float:
        """GPU-hours that a trial will take, before it is run."""
        ...

    def train(self, trials: Sequence[Trial], done: Callable[[Trial, Reading], None]) -> None:
        """Train all, some at once; `done` is called as each ends. A trial's own failure is a reading."""
        ...

    def look(self, trial: Trial) -> Rate:
        """The validation error of a trial that was trained: every look is counted by whoever asks."""
        ...
