"""`raytrain report` of runs: one page, side by side with the published rows."""

from collections.abc import Sequence
from pathlib import Path


def report_runs(runs: Sequence[Path], out: Path | None, *, as_json: bool) -> None:
    """Write report.html and report.json into `out` or the first run, and print the Markdown table.

    Raises RunError where a folder holds no run.
    """
    from raytrain.remote import fetched
    from raytrain.report import build_report, markdown, write_report

    folders = [fetched(run) for run in runs]
    reports = [build_report(str(run)) for run in folders]
    page = write_report(reports, out or folders[0])
    if as_json:
        print("[" + ",\n".join(entry.model_dump_json() for entry in reports) + "]")
        return
    print(markdown(reports))
    print(f"report: {page}")
