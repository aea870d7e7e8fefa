"""`raytrain demo`: the whole story on this machine, in minutes."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("demo-out"),
    source: Annotated[
        Path | None, typer.Option(help="Your own ImageFolder, instead of made-up images; at least 4 classes.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the three runs.")] = 0,
) -> None:
    """Make images, pack, verify, pretrain, fine-tune, train from scratch beside it, evaluate, report."""
    from raytrain.demo import demo as tell

    tell(out, source, seed)
