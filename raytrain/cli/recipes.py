"""`raytrain recipes`: every recipe, one line each."""

import json

import typer

from raytrain.cli.options import AsJson

app = typer.Typer(add_completion=False)


@app.command()
def recipes(as_json: AsJson = False) -> None:
    """List every recipe: name, summary, source."""
    from rich.console import Console
    from rich.table import Table

    from raytrain.recipes import names, recipe

    found = [recipe(name) for name in names()]
    if as_json:
        print(json.dumps([entry.model_dump(mode="json") for entry in found]))
        return
    table = Table(box=None)
    table.add_column("recipe", no_wrap=True, min_width=max(map(len, names())))
    for heading in ("what", "published top-1", "source"):
        table.add_column(heading, overflow="fold")
    for entry in found:
        top1 = f"{entry.published.top1:.2f}" if entry.published else ""
        table.add_row(entry.name, entry.summary, top1, entry.source)
    Console().print(table)
