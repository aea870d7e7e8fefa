"""`raytrain report`: one page on runs, side by side with the published rows, or on a study: this room knows both."""

from pathlib import Path
from typing import Annotated

import typer

from raytrain.cli.options import AsJson

app = typer.Typer(add_completion=False)


@app.command()
def report(
    folders: Annotated[
        list[Path], typer.Argument(help="Run folders, finished or not; or the folder of a study.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Where to write the page; the first folder if not said.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write report.html, and print what it says in short.

    Of runs, with report.json and a Markdown table; of a study (tune, improve), with journal.md.
    """
    from tuning.report import is_study

    if any(map(is_study, folders)):
        _study(folders, out, as_json=as_json)
    else:
        from raytrain.cli.report import report_runs

        report_runs(folders, out, as_json=as_json)


def _study(folders: list[Path], out: Path | None, *, as_json: bool) -> None:
    """Raises UsageError for more than one folder."""
    import json
    from dataclasses import asdict

    from raytrain.errors import UsageError
    from tuning.report import write_report

    if len(folders) > 1:
        raise UsageError(f"{len(folders)} folders, and one is a study: a study has a page of its own")
    book, page = write_report(folders[0], out)
    print(json.dumps(asdict(book), indent=1) if as_json else "\n".join([*book.headline, f"report: {page}"]))
