"""What the practical methodology reads and says: a trial, its reading, a change, an effect, a verdict.

Errors are shares of wrong answers (0 to 1), on clean images and with the same weights, never the training loss:
under mixup and drop path that says nothing about a gap.
"""

import math
from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from data_shards.shardset import Value
from tuning.dimension import Settings

Kind = Literal[
    "capacity_up",
    "regularize_up",
    "regularize_down",
    "half_data",
    "quarter_data",
    "more_data",
    "lr_up",
    "lr_down",
    "longer",
    "clean_labels",
]


class Rate(Value):
    """Wrong answers out of so many."""

    wrong: NonNegativeInt
    of: PositiveInt

    @property
    def share(self) -> float:
        """The error."""
        return self.wrong / self.of

    @property
    def standard_error(self) -> float:
        """Of the share as an estimate of the true error; never 0, by Agresti and Coull's four added answers."""
        share = (self.wrong + 2) / (self.of + 4)
        return math.sqrt(share * (1 - share) / (self.of + 4))


class Change(Value):
    """One change against the incumbent. `settings` are recipe paths; what is not named stays.

    `more_data` is never trained: its effect is what the curve over half and quarter of the data predicts.

    data         share of the training samples
    length       factor on the number of epochs
    """

    name: str
    kind: Kind
    settings: Settings = Field(default_factory=dict)
    data: float = 1.0
    length: float = 1.0
    clean_labels: bool = False


class Trial(Value):
    """One training, from its start to its end: the recipe with `settings`, changed by `change`, with this seed.

    `length` is a factor on the recipe's epochs for all trials of a round (short rounds first), before the change's.
    """

    settings: Settings
    change: Change | None
    seed: int
    length: float = 1.0


class Point(Value):
    """Errors on the way."""

    samples: int
    train: float | None
    minival: float


class Reading(Value):
    """All that is measured of a trial. None where it never came to that.

    train, minival     on a fixed slice of the training images and on held-out ones, both clean, at the end
    initial_loss       mean over the first step's images; ln(classes) for a network that knows nothing
    curve              in the order of training, the end included
    grad_norms         the 50th, 90th and 99th percentile over steps, before clipping
    clipped            share of steps whose gradient was clipped
    update_ratio       median over sampled steps of |update| / |weights|
    non_finite         steps that were not applied
    input_wait         share of the time spent waiting for images
    gpu_hours          worker-hours where there is no GPU
    """

    state: Literal["done", "diverged", "failed"]
    classes: int
    train_samples: int
    train: Rate | None
    minival: Rate | None
    initial_loss: float | None
    curve: tuple[Point, ...] = ()
    grad_norms: tuple[float, float, float] | None = None
    clipped: float = 0.0
    update_ratio: float | None = None
    non_finite: int = 0
    steps: int
    input_wait: float = 0.0
    images_per_second: float | None = None
    gpu_hours: float
    run: str = ""
    problem: str = ""


class Check(Value):
    """A test before anything is spent. `found` says what was measured, against what; `fix` what to do if it is red.

    steps      of the short training that was looked at, 0 where there was none
    learned    whether that was better than guessing on held-out images, by 3 standard errors
    """

    name: Literal[
        "initial loss",
        "one batch",
        "blanked images",
        "leak",
        "class mix",
        "held-out labels",
        "resume",
        "input speed",
    ]
    green: bool
    found: str
    fix: str = ""
    steps: NonNegativeInt = 0
    learned: bool = False


class Effect(Value):
    """A change's effect on minival's error: paired, same seeds; negative is better.

    n                  pairs
    standard_error     of the mean difference: luck of the seeds, and of the images, which all pairs share
    least              max(3 standard errors, the least effect that matters): more than this counts. With few pairs it
                       is more than 3 of them, as Student's t has it: what luck exceeds once in 741 times
    gpu_hours          what the pairs' changed arms cost
    """

    change: Change
    n: int
    mean: float
    standard_error: float
    least: float
    gpu_hours: float
    note: str = ""

    @property
    def counts(self) -> bool:
        """Whether it helps, beyond doubt and by enough to matter."""
        return self.mean < -self.least


def nothing_beyond(kind: Kind) -> str:
    """What a verdict's `untested` says of a kind of change that the recipe has no more of."""
    return f"{kind}: nothing to change there"


Cause = Literal[
    "bug",
    "input",
    "numerics",
    "capacity",
    "data",
    "regularization",
    "less_regularization",
    "lr_up",
    "lr_down",
    "longer",
    "labels",
    "floor",
    "met",
    "inconclusive",
]


class Verdict(Value):
    """What is worst, and how we know. `change` is what it proposes, None where nothing in the recipe is to change.

    gpu_hours          that the study had spent by then
    confidence         probability that the effect has this sign (from its standard error); None for checks
    images_needed      of a data verdict: (low, best, high), how many training images the target needs; None where no
                       number does
    untested           what this verdict did not try, and so cannot exclude
    would_change_it    what would have to be seen for another verdict
    """

    cause: Cause
    change: Change | None
    evidence: tuple[str, ...]
    effects: tuple[Effect, ...] = ()
    confidence: float | None
    gpu_hours: float
    images_needed: tuple[float | None, float | None, float | None] | None = None
    untested: tuple[str, ...] = ()
    would_change_it: str
