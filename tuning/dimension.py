"""What a parameter of a search may be: a range, a choice, a ladder of named rungs, or notches around a prior.

Written as `log:1e-4:1e-2`, `0:0.3` or `choice:adamw,sgd`, on the command line and in files alike. A dimension knows its
values one by one where there are few (`values`), and else where a share of the way lies (`at`): samplers need no more.
"""

import json
import math
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, FiniteFloat, model_validator

from data_shards.shardset import Value
from raytrain.errors import UsageError
from raytrain.settings import needed, parse

Scalar = bool | int | float | str
Setting = Scalar | tuple[Scalar, ...] | None
Settings = dict[str, Setting]
FORMS = "log:LOW:HIGH, LOW:HIGH or choice:A,B,..."


class Range(Value):
    """All numbers from low to high, both included; even in the logarithm where `log`; whole where `integer`."""

    low: float
    high: float
    log: bool = False
    integer: bool = False

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"the low end {self.low:g} must be a number below the high end {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"a log range starts above 0, not at {self.low:g}; leave log: away")
        if self.integer and not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError("the field takes whole numbers; give whole ends")
        return self

    @property
    def values(self) -> tuple[Scalar, ...] | None:
        """None: there is no next one."""
        return None

    def at(self, share: float) -> Scalar:
        """The number at a share (0 to 1) of the way; whole numbers have equal parts of it."""
        low, high = (self.low - 0.5, self.high + 0.5) if self.integer else (self.low, self.high)
        if self.log:
            drawn = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        else:
            drawn = low + share * (high - low)
        drawn = min(max(drawn, self.low), self.high)
        return round(drawn) if self.integer else drawn

    def holds(self, value: object) -> bool:
        """Whether the value can be drawn."""
        return isinstance(value, int | float) and self.low <= value <= self.high

    @property
    def form(self) -> str:
        """As `--space` takes it."""
        return f"{'log:' if self.log else ''}{self.low!r}:{self.high!r}"

    @property
    def ends(self) -> tuple[Scalar, ...]:
        """The values that a recipe must accept for it to accept all."""
        return (int(self.low), int(self.high)) if self.integer else (self.low, self.high)


class Choice(Value):
    """One of some values, without an order."""

    values: Annotated[tuple[Scalar, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _different(self) -> Self:
        if len(set(map(json.dumps, self.values))) < len(self.values):
            raise ValueError("choice needs different values")
        return self

    def holds(self, value: object) -> bool:
        """Whether the value can be drawn."""
        return value in self.values

    @property
    def form(self) -> str:
        """As `--space` takes it."""
        return "choice:" + ",".join(v if isinstance(v, str) else json.dumps(v) for v in self.values)

    @property
    def ends(self) -> tuple[Scalar, ...]:
        """The values that a recipe must accept for it to accept all."""
        return self.values


class Ladder(Value):
    """Named rungs, small to large, each of which sets the same recipe paths at once."""

    rungs: Annotated[dict[str, Settings], Field(min_length=2)]

    @model_validator(mode="after")
    def _same_paths(self) -> Self:
        first, *others = self.rungs
        for name in others:
            if odd := self.rungs[first].keys() ^ self.rungs[name].keys():
                raise ValueError(
                    f"rungs {first} and {name} do not set the same paths: {', '.join(sorted(odd))}"
                )
        return self

    @property
    def paths(self) -> tuple[str, ...]:
        """What it sets."""
        return tuple(next(iter(self.rungs.values())))

    @property
    def values(self) -> tuple[Scalar, ...]:
        """The rungs' names."""
        return tuple(self.rungs)

    @property
    def form(self) -> str:
        """For people."""
        return "rungs " + ", ".join(self.rungs)


class Offset(Value):
    """Whole notches down or up from a published prior, which may depend on another parameter's value (`by`).

    `prior` is by that value, or has the one key "" where it depends on nothing. A notch adds `notch`, or multiplies
    by it where `log`.
    """

    prior: Annotated[dict[str, FiniteFloat], Field(min_length=1)]
    by: str = ""
    notch: Annotated[FiniteFloat, Field(gt=0)]
    log: bool = False
    low: int
    high: int

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"the lowest notch {self.low} must be below the highest {self.high}")
        if self.log and (self.notch <= 1 or min(self.prior.values()) <= 0):
            raise ValueError("a notch that multiplies is a factor above 1, on a prior above 0")
        return self

    @property
    def values(self) -> tuple[Scalar, ...]:
        """The notches."""
        return tuple(range(self.low, self.high + 1))

    def value(self, notches: int, point: Mapping[str, Scalar]) -> float:
        """What the recipe's field is, for a point of the space, rounded where adding left a tail of digits."""
        prior = self.prior[str(point[self.by]) if self.by else ""]
        if notches == 0:
            return prior
        return float(f"{prior * self.notch**notches if self.log else prior + notches * self.notch:.6g}")

    @property
    def form(self) -> str:
        """For people."""
        priors = ", ".join(f"{key + ' ' if key else ''}{value:g}" for key, value in self.prior.items())
        return f"{self.low:+d} to {self.high:+d} notches of {'x ' if self.log else ''}{self.notch:.3g} from {priors}"


Dimension = Range | Choice | Ladder | Offset


def read_dimension(form: str, *, integer: bool) -> Range | Choice:
    """A dimension as it is written. Raises UsageError, without saying where it was read."""
    try:
        if form.startswith("choice:"):
            items = form.removeprefix("choice:").split(",")
            if len(set(items)) < 2:
                raise UsageError("choice needs at least two different values")
            return Choice(values=tuple(parse([f"x={item}"])["x"] for item in items))
        bounds = form.removeprefix("log:").split(":")
        if len(bounds) != 2:
            raise UsageError(f"'{form}' is no range; write {FORMS}")
        try:
            low, high = (float(bound) for bound in bounds)
        except ValueError:
            raise UsageError(f"'{form}' is no range; write {FORMS}") from None
        return Range(low=low, high=high, log=form.startswith("log:"), integer=integer)
    except ValueError as error:
        raise UsageError(reason(error)) from None


def reason(error: ValueError) -> str:
    """What a validation error says, without the validator's own words."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    text = needed(first)
    return f"{where}: {text}" if where and first["type"] != "value_error" else text
