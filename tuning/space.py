"""The search space of a round: every hyper-parameter of the recipe is scientific, nuisance or fixed, and says so.

scientific   what the round asks about: its values get equal numbers of points
nuisance     tuned beside it, so that each scientific value is seen at its best (learning rate, weight decay)
fixed        stays as the recipe has it: what the round can say nothing about, so it is printed

(google-research/tuning_playbook, "Identifying scientific, nuisance, and fixed hyperparameters".) A hyper-parameter
that is none of these is refused, so that a new field of the recipe is never left alone by oversight.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Literal, cast

from pydantic import Field, JsonValue

from data_shards.shardset import Value
from raytrain.errors import UsageError
from raytrain.recipe import Recipe
from raytrain.settings import change, paths, tree_of
from tuning.dimension import Dimension, Ladder, Offset, Scalar, Setting, Settings

Point = dict[str, Scalar]
"""A trial's place in a space: a value by each active parameter's name. Ladders have a rung's name, offsets notches."""

NO_HYPER_PARAMETERS = (
    *("name", "summary", "source", "published", "published.*"),
    *("made_for", "train_split", "train_fraction"),  # the data
    *("eval_split", "train_slice", "evaluate_epochs", "checkpoint_epochs"),  # how trials are compared
    *("execution.*", "model.family"),  # how it is computed; and another family has other fields
)


class Param(Value):
    """A parameter that is searched. `paths` are the recipe's fields that it sets; a ladder names its own.

    when      it exists only where these parameters, or recipe fields, have one of these values
    source    where its ends, rungs or prior are from
    """

    name: str
    paths: Annotated[tuple[str, ...], Field(min_length=1)]
    role: Literal["scientific", "nuisance"]
    dimension: Dimension
    when: dict[str, tuple[Scalar, ...]] = Field(default_factory=dict)
    source: str = ""

    def settings(self, value: Scalar, point: Mapping[str, Scalar]) -> Settings:
        """What it sets in the recipe where it has this value; `point` holds the parameters before it."""
        if isinstance(self.dimension, Ladder):
            return self.dimension.rungs[str(value)]
        if isinstance(self.dimension, Offset):
            return dict.fromkeys(self.paths, self.dimension.value(int(value), point))
        return dict.fromkeys(self.paths, value)

    @property
    def every(self) -> Iterator[Settings]:
        """Settings that a recipe must accept for it to accept all."""
        match self.dimension:
            case Ladder(rungs=rungs):
                yield from rungs.values()
            case Offset(prior=prior, by=by, values=notches):
                yield from (self.settings(n, {by: key}) for key in prior for n in notches)
            case plain:
                yield from (self.settings(end, {}) for end in plain.ends)


class Space(Value):
    """What is searched of one recipe. `own` are the recipe's values at all of its hyper-parameters, and its family."""

    name: str
    params: Annotated[tuple[Param, ...], Field(min_length=1)]
    own: dict[str, JsonValue]

    def active(self, param: Param, point: Mapping[str, Scalar]) -> bool:
        """Whether a parameter exists, given the values of those before it."""
        if not param.when:
            return True
        known = {**self.own, **self.settings(point), **point}
        return all(known.get(key) in values for key, values in param.when.items())

    def settings(self, point: Mapping[str, Scalar]) -> Settings:
        """The point as changes to the recipe."""
        settings: Settings = {}
        for param in self.params:
            if param.name in point:
                settings |= param.settings(point[param.name], point)
        return settings

    @property
    def own_point(self) -> Point:
        """The recipe as a point of the space. Where one of its values is not among those searched: empty, no change."""
        point: Point = {}
        for param in self.params:
            if self.active(param, point):
                value = self._own_value(param, point)
                if value is None:
                    return {}
                point[param.name] = value
        return point

    def _own_value(self, param: Param, point: Point) -> Scalar | None:
        dimension = param.dimension
        if isinstance(dimension, Ladder | Offset):
            for value in dimension.values:
                wanted = param.settings(value, point)
                if all(_same(self.own[path], setting) for path, setting in wanted.items()):
                    return value
            return None
        held = {json.dumps(self.own[path]) for path in param.paths}
        own = self.own[param.paths[0]]
        return cast(Scalar, own) if len(held) == 1 and dimension.holds(own) else None

    @property
    def fixed(self) -> dict[str, JsonValue]:
        """The hyper-parameters that stay as the recipe has them."""
        searched = {path for param in self.params for path in param.paths}
        return {
            path: value for path, value in self.own.items() if path not in searched and path != "model.family"
        }

    def lines(self) -> dict[str, str]:
        """Each hyper-parameter's role and range in words: two spaces are compared by these."""
        searched = {
            param.name: f"{param.role}, {param.dimension.form}"
            + "".join(
                f", when {key} is {' or '.join(map(str, values))}" for key, values in param.when.items()
            )
            for param in self.params
        }
        return searched | {path: f"fixed, {json.dumps(value)}" for path, value in self.fixed.items()}


def declare(name: str, params: Sequence[Param], fixed: Sequence[str], recipe: Recipe) -> Space:
    """The space of this recipe. Parameters that its family never has are left away.

    `fixed` names fields, or groups of them (`schedule.*`, `*`), which then means: those that nothing else names.
    Raises UsageError for an unknown or an undeclared field, two roles for one, and values that the recipe refuses.
    """
    own = hyper_parameters(recipe)
    here = tuple(param for param in params if not _never(param, params, own))
    for number, param in enumerate(here):
        for path in param.paths:
            _known(path, own, recipe)
        _prior_is_known(param, here[:number])
        for settings in param.every:
            _accepted(recipe, settings)
    pinned = {pattern for pattern in fixed if "*" not in pattern}
    for pattern in fixed:
        if "*" not in pattern:
            _known(pattern, own, recipe)
        elif not any(fnmatchcase(path, pattern) for path in own):
            raise UsageError(f"fixed {pattern} names no field of recipe '{recipe.name}'")
    _one_role_each(here, pinned)
    searched = {path for param in here for path in param.paths}
    bare = [
        path
        for path in own
        if path not in searched
        and path != "model.family"
        and not any(fnmatchcase(path, pattern) for pattern in fixed)
    ]
    if bare:
        raise UsageError(
            f"nothing is said of {', '.join(bare)}: every hyper-parameter of recipe '{recipe.name}' needs "
            "a role; search it as scientific or nuisance, or list it under fixed"
        )
    if not here:
        raise UsageError(f"nothing is searched that recipe '{recipe.name}' has")
    return Space(name=name, params=here, own=own)


def hyper_parameters(recipe: Recipe) -> dict[str, JsonValue]:
    """The recipe's values at every hyper-parameter, and its model's family."""
    tree = tree_of(recipe)
    return {
        path: _at(tree, path)
        for path in paths(tree)
        if path == "model.family" or not any(fnmatchcase(path, pattern) for pattern in NO_HYPER_PARAMETERS)
    }


def _accepted(recipe: Recipe, settings: Settings) -> None:
    """Raises UsageError, in the words of a space, where the recipe refuses a value."""
    try:
        change(recipe, settings)
    except UsageError as error:
        raise UsageError(str(error).replace("--set ", "")) from None


def _known(path: str, own: Mapping[str, JsonValue], recipe: Recipe) -> None:
    """Raises UsageError, with the nearest fields, where the recipe has none of that name to search."""
    if path in own and path != "model.family":
        return
    if path in paths(tree_of(recipe)):
        raise UsageError(
            f"{path} is no hyper-parameter: trials that differ in it are not compared. Use --set for it"
        )
    change(recipe, {path: None})  # raises: it knows the nearest


def _prior_is_known(param: Param, before: Sequence[Param]) -> None:
    """Raises UsageError where an offset has no prior for some value of the parameter that it goes by."""
    if not isinstance(param.dimension, Offset) or not param.dimension.by:
        return
    values = [other.dimension.values or () for other in before if other.name == param.dimension.by]
    if not values or set(map(str, values[0])) - param.dimension.prior.keys():
        raise UsageError(
            f"{param.name} takes its prior by {param.dimension.by}, which has to be declared before "
            f"it, with the values {', '.join(param.dimension.prior)}"
        )


def _never(param: Param, params: Sequence[Param], own: Mapping[str, JsonValue]) -> bool:
    """Whether a condition on the recipe itself leaves the parameter no chance."""
    moved = {other.name for other in params} | {path for other in params for path in other.paths}
    return any(key not in moved and own.get(key) not in values for key, values in param.when.items())


def _one_role_each(params: Sequence[Param], pinned: set[str]) -> None:
    """Raises UsageError where a field has two roles, unless the two never meet."""
    for number, param in enumerate(params):
        if both := sorted(set(param.paths) & pinned):
            raise UsageError(f"{both[0]} is fixed and searched (by {param.name}); leave one away")
        for other in params[:number]:
            apart = any(
                not set(param.when[key]) & set(other.when[key]) for key in param.when.keys() & other.when
            )
            if other.name == param.name:
                raise UsageError(f"{param.name} is declared twice; give each parameter once")
            if not apart and (both := sorted(set(param.paths) & set(other.paths))):
                raise UsageError(
                    f"{both[0]} is set by {other.name} and by {param.name}; a field has one role"
                )


def _same(held: JsonValue, setting: Setting) -> bool:
    if isinstance(held, int | float) and isinstance(setting, int | float):
        return math.isclose(held, setting, rel_tol=1e-5)
    return json.dumps(held) == json.dumps(setting)


def _at(tree: Mapping[str, JsonValue], path: str) -> JsonValue:
    node: JsonValue = dict(tree)
    for part in path.split("."):
        assert isinstance(node, Mapping)
        node = node[part]
    return node
