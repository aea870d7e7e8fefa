"""`raytrain report`: one page on one or more runs, side by side with the published rows."""

from pathlib import Path
from typing import Annotated

import typer

from raytrain.cli.options import AsJson

app = typer.Typer(add_completion=False)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, finished or not.")],
    out: Annotated[
        Path | None, typer.Option(help="Where to write the page; the first run's folder if not said.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write report.html and report.json, and print the Markdown table."""
    from raytrain.report import build_report, markdown, write_report

    reports = [build_report(str(run.absolute())) for run in runs]
    page = write_report(reports, out or runs[0])
    if as_json:
        print("[" + ",\n".join(entry.model_dump_json() for entry in reports) + "]")
        return
    print(markdown(reports))
    print(f"report: {page}")
