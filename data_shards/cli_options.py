"""What several `raytrain data` commands take and print. Only typer is imported."""

import json
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Workers = Annotated[int | None, typer.Option(min=1, help="How many at a time; one per core if not given.")]
MaxBad = Annotated[
    float,
    typer.Option(
        help="Undecodable images put up with: a share of a split (1 at least), 100 times that of a class (3 at least)."
    ),
]
Url = Annotated[str, typer.Argument(help="A local path or s3://bucket/prefix.")]


def print_json(**fields: object) -> None:
    """One line for a machine."""
    typer.echo(json.dumps(fields))
