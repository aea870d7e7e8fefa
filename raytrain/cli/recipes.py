"""`raytrain recipes`: every recipe, one line each, by where they come from."""

import json

import typer

from raytrain.cli.options import AsJson

app = typer.Typer(add_completion=False)


@app.command()
def recipes(as_json: AsJson = False) -> None:
    """List every recipe: name, published top-1, summary. With --json all of it."""
    from raytrain.recipes import GROUPS, builders

    found = {group: [build() for build in builders(group).values()] for group in GROUPS}
    if as_json:
        print(json.dumps([recipe.model_dump(mode="json") for group in found.values() for recipe in group]))
        return
    width = max(len(recipe.name) for group in found.values() for recipe in group)
    print(f"  {'name':<{width}}  top-1  what it trains (top-1 in %, as published)")
    for group, title in GROUPS.items():
        print(f"{title} (raytrain/recipes/{group}.py)")
        for recipe in found[group]:
            top1 = f"{recipe.published.top1:.2f}" if recipe.published else ""
            print(f"  {recipe.name:<{width}}  {top1:>5}  {recipe.summary}")
