"""`raytrain data audit`: was every sample of every epoch delivered once? Proven from the run's own files."""

from pathlib import Path
from typing import Annotated

import typer

from raytrain.cli.options import AsJson

app = typer.Typer(add_completion=False)


@app.command()
def audit(
    run: Annotated[Path, typer.Argument(help="A run's folder, finished or not.")], as_json: AsJson = False
) -> None:
    """Prove from a run's ledger that each sample of each epoch was delivered once. Exit code 1 on any gap."""
    from data_shards.progress import progress_bar
    from raytrain.audit import audit_run, audit_text
    from raytrain.remote import fetched, url_of

    with progress_bar("auditing rows") as advance:
        found, training = audit_run(fetched(run), advance, checkpoints=url_of(run))
    print(found.model_dump_json(indent=1) if as_json else audit_text(found, training))
    if not found.proven:
        raise typer.Exit(1)
