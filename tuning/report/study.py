"""A study's folder becomes a book: which sort of study it is, its ledger says."""

import json
from pathlib import Path

from raytrain.errors import RunError
from raytrain.runlog import PLAN
from tuning.ledger import LEDGER, read_ledger
from tuning.report.book import Book


def is_study(folder: Path) -> bool:
    """Whether a folder holds a study. A run has a ledger too, of images, and a plan."""
    return (folder / LEDGER).exists() and not (folder / PLAN).exists()


def read_study(folder: Path) -> Book:
    """The book of the study in a folder, which may be running. Raises RunError where its ledger is damaged."""
    if _first_kind(folder / LEDGER) == "started":
        from tuning.method.rows import ROWS as METHOD_ROWS
        from tuning.report.method import method_book

        asked, when, _ = read_ledger(folder / LEDGER, METHOD_ROWS)
        return method_book(asked, when)
    from tuning.report.sweep import sweep_book
    from tuning.search.rows import ROWS

    rows, times, _ = read_ledger(folder / LEDGER, ROWS)
    return sweep_book(rows, times, folder)


def _first_kind(ledger: Path) -> str:
    """Of a methodology study's ledger `started`, of a sweep's `study`. Raises RunError where it holds no row."""
    with ledger.open("rb") as file:
        line = file.readline()
    try:
        return str(json.loads(line)["kind"])
    except (ValueError, KeyError):
        raise RunError(f"{ledger}: its first line is no row of a study") from None


def write_report(folder: Path, out: Path | None = None) -> tuple[Book, Path]:
    """Write journal.md and report.html into the study or `out`; the book, and the page's path."""
    from tuning.report.render import write_book

    book = read_study(folder)
    return book, write_book(book, out or folder)
