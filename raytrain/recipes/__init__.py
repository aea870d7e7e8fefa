"""Recipes: functions that return a Recipe, found by name. A variant calls another and changes a field.

Each module is a group and has `recipes()`, its functions by name. Every function's docstring says where its numbers
come from, the commands (theirs and ours), the expected result, and what differs; docs/recipes.md shows them all.
"""

from collections.abc import Callable
from importlib import import_module

from raytrain.errors import UsageError, nearest
from raytrain.recipe import Recipe
from raytrain.recipes import own

Builder = Callable[[], Recipe]

GROUPS = {
    "swin": "Swin, by its repository",
    "swin_paper": "Swin, by its paper where the two differ",
    "cbam": "CBAM 2018, by its repository and by its paper",
    "ablations": "CBAM 2018: the other rows of the paper's tables, by both",
    "modern": "torchvision's second recipe: plain, SE and CBAM",
    "cbam_22k": "CBAM-ResNeXt on 22K, derived: nothing was published",
    "smoke": "Smoke recipes for a CPU, on `raytrain data synth` sets",
}
UNPUBLISHED = ("cbam_22k", "smoke")
PAPER = "_paper"


def builders(group: str) -> dict[str, Builder]:
    """The functions of a group by name, in its own order."""
    found: dict[str, Builder] = import_module(f"raytrain.recipes.{group}").recipes()
    return found


def names() -> list[str]:
    """Every recipe's name."""
    return [name for group in GROUPS for name in builders(group)]


def recipe(name: str) -> Recipe:
    """The recipe of that name, or of a function in a user's file (recipes/own.py).

    Raises UsageError: suggesting the nearest for an unknown name, with file and line for what a file does wrong.
    """
    if own.is_file(name):
        return own.load(name)
    for group in GROUPS:
        found = builders(group)
        if name in found:
            return found[name]()
    raise UsageError(
        f"unknown recipe '{name}'{nearest(name, names())}. All: raytrain recipes; your own: FILE.py:FUNCTION"
    )


def variants(name: str) -> dict[str, Recipe]:
    """The recipe as its "repository" and as its "paper" has it, either name given; only those there are.

    Empty where nothing was published: a recipe made here, or one from a user's own file.
    """
    published = {found for group in GROUPS if group not in UNPUBLISHED for found in builders(group)}
    base = name.removesuffix(PAPER)
    wanted = {"repository": base, "paper": base + PAPER}
    return {source: recipe(found) for source, found in wanted.items() if found in published}
