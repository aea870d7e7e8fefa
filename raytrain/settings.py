"""Changing a recipe: `--set path=value` on the command line and `change` in recipes, checked the same way."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from raytrain.errors import UsageError, nearest
from raytrain.recipe import Recipe

FAMILIES = ("swin", "resnet", "regnet", "vit", "bit")


def parse(settings: Sequence[str]) -> dict[str, Any]:
    """`["optimizer.lr=1e-3"]` to `{"optimizer.lr": 0.001}`. Values are JSON, or text where they are none."""
    changes: dict[str, Any] = {}
    for setting in settings:
        path, equals, value = setting.partition("=")
        if not (equals and path.strip()):
            raise UsageError(f"--set {setting}: write path=value, e.g. --set optimizer.lr=1e-3")
        try:
            changes[path.strip()] = json.loads(value)
        except json.JSONDecodeError:
            changes[path.strip()] = value
    return changes


def change(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """The recipe with the values at dotted paths replaced. Raises UsageError naming all fields that are wrong."""
    tree = tree_of(recipe)
    known = sorted(paths(tree))
    wrong = [_unknown(path, known, recipe.name) for path in changes if path not in known]
    for path in (path for path in changes if path in known):
        *parents, leaf = path.split(".")
        node = tree
        for parent in parents:
            node = node[parent]
        node[leaf] = changes[path]
    try:
        changed = Recipe.model_validate(tree)
    except ValidationError as error:
        wrong += _complaints(error, changes)
    if wrong:
        raise UsageError(
            wrong[0] if len(wrong) == 1 else "\n  ".join([f"{len(wrong)} things are wrong", *wrong])
        )
    return changed


def tree_of(recipe: Recipe) -> dict[str, Any]:
    """The recipe as JSON, with the fields too that are left out of its dumps while they do nothing."""
    tree = recipe.model_dump(mode="json")
    return tree | {name: getattr(recipe, name) for name in Recipe.model_fields if name not in tree}


def _unknown(path: str, known: Sequence[str], name: str) -> str:
    ends = [field for field in known if field.endswith(f".{path}")]  # "lr" is like none, and ends one
    near = f"; the nearest: {', '.join(ends)}" if ends else nearest(path, known)
    return f"recipe '{name}' has no field '{path}'{near}. All: raytrain recipes --json"


def _complaints(error: ValidationError, changes: Mapping[str, Any]) -> list[str]:
    """What is wrong, said once of each change that was asked for: at, above or below the field, else of all."""
    told: dict[str, str] = {}
    for one in error.errors():
        # a model's path holds its family's name, which the user never wrote
        where = ".".join(str(part) for part in one["loc"] if part not in FAMILIES)
        near = [path for path in changes if _within(where, path) or _within(path, where)]
        asked = " ".join(f"--set {path}={json.dumps(changes[path])}" for path in near or changes)
        exact = where in changes or one["type"] == "value_error"
        told.setdefault(asked, f"{asked}: {'' if exact else f'{where}: '}{needed(one)}")
    return [*told.values()]


def _within(inner: str, outer: str) -> bool:
    return f"{inner}.".startswith(f"{outer}.")


def needed(error: ErrorDetails) -> str:
    """A validation error in the words of someone who never heard of the validator."""
    match error["type"]:
        case "value_error":
            return str(error["ctx"]["error"])
        case "extra_forbidden":
            return "no such field there"
        case "missing":
            return "this one is missing"
        case "union_tag_invalid":
            return f"should be {error['ctx']['expected_tags']}"
        case "too_short":
            return f"should have at least {error['ctx']['min_length']} entry"
        case "too_long":
            return f"should have {error['ctx']['max_length']} entries, not {error['ctx']['actual_length']}"
    text = re.sub(r" or instance of \w+", "", error["msg"]).replace("valid tuple", "list, e.g. [2, 4]")
    return text.removeprefix("Input ")


def paths(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The dotted paths of all leaves."""
    found: list[str] = []
    for key, value in tree.items():
        found += paths(value, f"{prefix}{key}.") if isinstance(value, dict) else [prefix + key]
    return found
