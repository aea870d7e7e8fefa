"""A book becomes a page and a journal in the study's folder. The page needs no network and no script."""

from pathlib import Path

from data_shards.store import open_store
from raytrain.report.draw import drawn
from raytrain.report.render import PAGE, template
from tuning.report.book import Book
from tuning.report.journal import journal

JOURNAL = "journal.md"


def write_book(book: Book, out: Path) -> Path:
    """Write `out`/journal.md and report.html, each whole or not at all; returns the page's path."""
    store = open_store(str(out))
    store.write(JOURNAL, journal(book).encode())
    store.write(PAGE, page(book).encode())
    return out / PAGE


def page(book: Book) -> str:
    """The page's HTML. Everything that comes from a study is escaped."""
    charts = [
        [(drawn(plot.frame, plot.lines), plot.frame.width) for plot in section.plots]
        for section in book.sections
    ]
    sections = list(zip(book.sections, charts, strict=True))
    return template("tuning", "study.html").render(title=book.title, book=book, sections=sections)
