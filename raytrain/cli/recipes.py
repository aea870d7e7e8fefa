"""`raytrain recipes`: every recipe, one line each, by where they come from."""

import json
from typing import Annotated

import typer

from raytrain.cli.options import AsJson

app = typer.Typer(add_completion=False)


@app.command()
def recipes(
    part: Annotated[
        str, typer.Argument(metavar="[PART]", help="Only those with this in their names.", show_default=False)
    ] = "",
    as_json: AsJson = False,
) -> None:
    """List every recipe: name, published top-1, summary. With --json all of it."""
    from raytrain.errors import UsageError, nearest
    from raytrain.recipes import GROUPS, builders, names

    found = {group: [build() for name, build in builders(group).items() if part in name] for group in GROUPS}
    found = {group: those for group, those in found.items() if those}
    if not found:
        raise UsageError(f"no recipe has '{part}' in its name{nearest(part, names())}. All: raytrain recipes")
    if as_json:
        print(json.dumps([recipe.model_dump(mode="json") for group in found.values() for recipe in group]))
        return
    width = max(len(recipe.name) for group in found.values() for recipe in group)
    print(f"  {'name':<{width}}  top-1  what it trains (top-1 in %, as published)")
    for group, those in found.items():
        print(f"{GROUPS[group]} (raytrain/recipes/{group}.py)")
        for recipe in those:
            top1 = f"{recipe.published.top1:.2f}" if recipe.published else ""
            print(f"  {recipe.name:<{width}}  {top1:>5}  {recipe.summary}")
