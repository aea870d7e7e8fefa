"""`raytrain models`: the papers' tables recomputed, and whether each cell holds. Loads neither torch nor Ray."""

import json
from typing import Annotated

import typer

from raytrain.cli.options import AsJson

app = typer.Typer(add_completion=False)


@app.command()
def models(
    name: Annotated[
        str | None, typer.Argument(help="One network, with all that is known of it.", metavar="[NAME]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Hold every row of the papers' tables against our own count of parameters and multiply-adds."""
    from rich.console import Console

    from raytrain.models.cards import model_cards
    from raytrain.models.show import COLUMNS, details, table
    from raytrain.models.verdict import judge, judged

    rows = [judge(card) for card in model_cards(name)] if name else judged()
    if as_json:
        print(json.dumps([row.model_dump(mode="json") for row in rows]))
    elif name:
        print(details(name, rows))
    else:
        console = Console(highlight=False)
        console.width = max(console.width, COLUMNS)
        console.print(table(rows))
