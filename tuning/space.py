"""The search space: a recipe's field, by its dotted path, to what may be put there.

On the command line: `--space optimizer.lr=log:1e-4:1e-2`, `--space model.drop_path=0:0.3`,
`--space optimizer.name=choice:adamw,sgd`. Fields of whole numbers draw whole numbers.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from data_shards.shardset import Value
from raytrain.errors import UsageError
from raytrain.recipe import Recipe
from raytrain.settings import change, parse

Scalar = bool | int | float | str
FORMS = "log:LOW:HIGH, LOW:HIGH or choice:A,B,..."

WEIGHT_DECAY = (1e-4, 0.3)  # from ResNet's (He et al. 2016) to ViT's (Dosovitskiy et al. 2020, table 3)
DROP_PATH = (0.0, 0.3)  # to Swin-S's (Liu et al. 2021, appendix A2.1)


class Range(Value):
    """All numbers from low to high, both included; even in the logarithm where `log`; whole where `integer`."""

    low: float
    high: float
    log: bool = False
    integer: bool = False

    def holds(self, value: Any) -> bool:
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

    values: tuple[Scalar, ...]

    def holds(self, value: Any) -> bool:
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


Dimension = Range | Choice
Space = dict[str, Dimension]


def default_space(recipe: Recipe) -> Space:
    """Weight decay and drop path: what a recipe's regularization is tuned by. Widened to hold the recipe's own."""
    decay, drop = recipe.optimizer.weight_decay, recipe.model.drop_path
    lowest = min(WEIGHT_DECAY[0], decay) if decay > 0 else WEIGHT_DECAY[0]
    return {
        "optimizer.weight_decay": Range(low=lowest, high=max(WEIGHT_DECAY[1], decay), log=True),
        "model.drop_path": Range(low=DROP_PATH[0], high=max(DROP_PATH[1], drop)),
    }


def parse_space(texts: Sequence[str], recipe: Recipe) -> Space:
    """The space that `--space` options name. Raises UsageError for an unknown path, form or bound."""
    space: Space = {}
    for text in texts:
        path, equals, form = text.partition("=")
        if not equals:
            raise UsageError(f"--space {text}: write path={FORMS}, e.g. --space optimizer.lr=log:1e-4:1e-2")
        if path in space:
            raise UsageError(f"--space {text}: {path} has a range already; give each path once")
        integer = isinstance(own(recipe, path), int)
        space[path] = _dimension(text, form, integer=integer)
        for value in space[path].ends:
            try:
                change(recipe, {path: value})
            except UsageError as error:
                raise UsageError(f"--space {text}: {str(error).removeprefix('--set ')}") from None
    return space


def own(recipe: Recipe, path: str) -> Any:
    """The recipe's own value at a path. Raises UsageError, suggesting the nearest, for an unknown one."""
    node: Any = recipe.model_dump(mode="json")
    for part in path.split("."):
        if not isinstance(node, Mapping) or part not in node:
            change(recipe, {path: None})  # raises: it knows the nearest paths
        node = node[part]
    if isinstance(node, Mapping):
        change(recipe, {path: None})  # a group of fields is none
    return node


def own_values(recipe: Recipe, space: Space) -> dict[str, Any] | None:
    """The recipe as a point of the space, or None where one of its values lies outside."""
    values = {path: own(recipe, path) for path in space}
    return values if all(space[path].holds(value) for path, value in values.items()) else None


def _dimension(text: str, form: str, *, integer: bool) -> Dimension:
    if form.startswith("choice:"):
        values = tuple(parse([f"x={item}"])["x"] for item in form.removeprefix("choice:").split(","))
        if len(set(map(json.dumps, values))) < len(values) or len(values) < 2:
            raise UsageError(f"--space {text}: choice needs at least two different values")
        return Choice(values=values)
    log, bounds = form.startswith("log:"), form.removeprefix("log:").split(":")
    try:
        low, high = (float(bound) for bound in bounds)
    except ValueError:
        raise UsageError(f"--space {text}: '{form}' is no range; write {FORMS}") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UsageError(f"--space {text}: the low end {low:g} must be a number below the high end {high:g}")
    if log and low <= 0:
        raise UsageError(f"--space {text}: a log range starts above 0, not at {low:g}; leave log: away")
    if integer and not (low.is_integer() and high.is_integer()):
        raise UsageError(f"--space {text}: the field takes whole numbers; give whole ends")
    return Range(low=low, high=high, log=log, integer=integer)
