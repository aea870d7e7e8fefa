"""docs/recipes.md is made of the recipes and their docstrings, and accepted like a golden file."""

import inspect
import re
from collections.abc import Callable
from importlib import import_module
from itertools import groupby

from raytrain.models.arithmetic import parameters
from raytrain.recipes import GROUPS, Builder, builders
from raytrain.recipes.assumed import SHAPES

HEAD = """\
# Recipes
Every recipe by where it comes from, with both commands, the expected result, and what differs from the source. The page
is made of the docstrings in `raytrain/recipes/`. **None has been trained at full size yet.** The repositories were read
at the commits named; of the Swin paper two copies of its appendix were read, and the CBAM paper's text was not at hand.
`raytrain recipes` lists the names, and RECIPE may also be your own function: `FILE.py:FUNCTION`.
"""


def test_the_page_is_what_the_recipes_say(golden: Callable[[str, str], None]) -> None:
    golden("../../docs/recipes.md", HEAD + "".join(section(group) for group in GROUPS))


def section(group: str) -> str:
    """A group: what its module says, its recipes in a table, and what each function says."""
    found = builders(group)
    module = inspect.getdoc(import_module(f"raytrain.recipes.{group}")) or ""
    text = f"\n## {GROUPS[group]}\n[`recipes/{group}.py`](../raytrain/recipes/{group}.py). {module}\n\n"
    text += "| recipe | parameters | top-1 | |\n|---|---|---|---|\n" + "".join(
        row(build) for build in found.values()
    )
    for function, held in groupby(found.items(), lambda item: getattr(item[1], "func", item[1])):
        names = [name for name, _ in held]
        text += f"\n**{_these(names)}.** {_said(function, names[0])}"
    return text


def row(build: Builder) -> str:
    """A recipe in its group's table."""
    recipe = build()
    count = parameters(recipe.model, SHAPES[recipe.made_for][0], recipe.view.image_size)
    top1 = f"{recipe.published.top1:.2f}" if recipe.published else ""
    return f"| `{recipe.name}` | {count / 1e6:.2f} M | {top1} | {recipe.summary} |\n"


def _these(names: list[str]) -> str:
    return f"`{names[0]}`" if len(names) == 1 else f"`{names[0]}` to `{names[-1]}`"


def _said(function: Callable[..., object], first: str) -> str:
    """A docstring as a list, the commands as code."""
    text = (inspect.getdoc(function) or "").replace("raytrain train NAME", f"raytrain train {first}")
    opening, _, rest = text.partition("\n\n")
    items = [" ".join(part.split()) for part in re.split(r"\n(?=[A-Z][a-z]+: )", rest) if part.strip()]
    lines = []
    for item in items:
        label, _, said = item.partition(": ")
        command = said.startswith(("raytrain ", "python ", "torchrun "))
        lines.append(f"- {label}: {f'`{said}`' if command and ',' not in said else said}\n")
    return f"{' '.join(opening.split())}\n\n" + "".join(lines) if lines else f"{' '.join(opening.split())}\n"
