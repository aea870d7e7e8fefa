"""The rows of a methodology's ledger: what was asked for, what was found, what was proposed, what a person said."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, TypeAdapter

from data_shards.shardset import Value
from raytrain.plan import Init
from tuning.dimension import Settings
from tuning.ledger import Called
from tuning.method.floor import UNKNOWN, Floor
from tuning.method.target import Target
from tuning.method.values import Cause, Change, Check, Effect, Rate, Reading, Trial, Verdict

LEAST = 0.002
"""Twice what seeds alone move a ResNet-50 on ImageNet by (0.09 to 0.13 points; the algoperf repository's logs)."""


class Started(Value):
    """What the study is of; the first row.

    settings    of the first incumbent, over the recipe's own
    given       the plan's identity as JSON texts by their paths: a study goes on only with the same
    start       the checkpoint that a fine-tune goes on from
    budget      GPU-hours in all
    seeds       trainings of the baseline, and pairs before a change is proposed
    length      of the rounds, as a share of the recipe's epochs; whatever is confirmed is trained to its end
    least       the least effect on the error that matters
    """

    kind: Literal["started"] = "started"
    recipe: str
    settings: Settings = Field(default_factory=dict)
    given: dict[str, str] = Field(default_factory=dict)
    start: Init | None = None
    target: Target
    floor: Floor = UNKNOWN
    budget: PositiveFloat
    seeds: Annotated[PositiveInt, Field(ge=3)] = 3
    length: Annotated[float, Field(gt=0, le=1)] = 1.0
    least: PositiveFloat = LEAST


class Funded(Value):
    """The study goes on after it ended, with this budget in all."""

    kind: Literal["funded"] = "funded"
    budget: PositiveFloat


class Checked(Value):
    """The preflight's results."""

    kind: Literal["checked"] = "checked"
    checks: tuple[Check, ...]


class Trained(Value):
    """A trial and its reading."""

    kind: Literal["trained"] = "trained"
    trial: Trial
    reading: Reading


class Proposal(Value):
    """A verdict, and what else could be done: other effects, the best first. It waits for an answer.

    cost            GPU-hours of one training as proposed
    alternatives    other changes by what is known of them; `force` takes one by its name
    """

    kind: Literal["proposed"] = "proposed"
    round: int
    verdict: Verdict
    cost: float
    alternatives: tuple[Effect, ...] = ()


class Accept(Value):
    """Do as proposed; where nothing in the recipe is to change, the study ends with this verdict."""

    kind: Literal["accept"] = "accept"


class Reject(Value):
    """Not that: the next best, if there is one."""

    kind: Literal["reject"] = "reject"
    reason: str


class Pin(Value):
    """A setting that stays: as it is, or set to the one value in `settings`."""

    kind: Literal["pin"] = "pin"
    path: str
    settings: Settings = Field(default_factory=dict)


class Force(Value):
    """Another change than the one proposed, whatever was found."""

    kind: Literal["force"] = "force"
    change: Change


class Freeze(Value):
    """No further change: confirm what there is, and end."""

    kind: Literal["freeze"] = "freeze"


Answer = Annotated[Accept | Reject | Pin | Force | Freeze, Field(discriminator="kind")]


class Answered(Value):
    """What was said, and by whom. It is never undone silently: a later answer is a later row."""

    kind: Literal["answered"] = "answered"
    answer: Answer
    by: Literal["person", "auto"]


class Looked(Value):
    """One look at val."""

    kind: Literal["looked"] = "looked"
    trial: Trial
    rate: Rate


Outcome = Cause | Literal["budget", "mismatch"]


class Finished(Value):
    """How it ended, why, and what would have to be seen for another end. `verdict` is the last one, if it says why."""

    kind: Literal["finished"] = "finished"
    outcome: Outcome
    text: str
    would_change_it: str
    verdict: Verdict | None = None


Row = Started | Called | Funded | Checked | Trained | Proposal | Answered | Looked | Finished
ROWS: TypeAdapter[Row] = TypeAdapter(Annotated[Row, Field(discriminator="kind")])
