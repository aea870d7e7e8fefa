"""`raytrain cluster policy`: the least that S3 has to allow, as IAM's JSON."""

import json
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


@app.command()
def policy(
    url: Annotated[str, typer.Argument(metavar="s3://BUCKET/PREFIX", help="A shard set, or where runs are.")],
    read_only: Annotated[
        bool, typer.Option("--read-only", help="For shards that are trained on, not packed.")
    ] = False,
) -> None:
    """Print the IAM policy that a role needs for this prefix, and no more: packing and runs write, training reads."""
    from data_shards.store.policy import policy as of

    print(json.dumps(of(url, writes=not read_only), indent=2))
