"""The journal: a book as Markdown. Its plots are on the page; all their numbers that matter are in its tables."""

from collections.abc import Iterator

from tuning.report.book import Book, Section, Table

WIDE = 60
"""Letters from which a cell is not padded to, so that one long cell widens no column."""


def journal(book: Book) -> str:
    """The book as a Markdown text."""
    lines = [f"# {book.title}", ""]
    for sentence in book.headline:
        lines += [f"**{_plain(sentence)}**", ""]
    for section in book.sections:
        lines += _section(section)
    return "\n".join(lines).rstrip() + "\n"


def _section(section: Section) -> Iterator[str]:
    if not (section.text or section.tables or section.after or section.pairs or section.commands):
        return
    yield f"## {section.title}"
    yield ""
    if section.note:
        yield f"*{_plain(section.note)}*"
        yield ""
    for paragraph in section.text:
        yield f"{_plain(paragraph)}  "
    if section.text:
        yield ""
    for table in section.tables:
        yield from _table(table)
        yield ""
    for paragraph in section.after:
        yield f"{_plain(paragraph)}  "
    if section.after:
        yield ""
    if section.pairs:
        yield "; ".join(f"{_plain(name)} {_plain(value)}" for name, value in section.pairs)
        yield ""
    if section.commands:
        yield from ("```", *section.commands, "```", "")


def _table(table: Table) -> Iterator[str]:
    rows = [[_plain(cell).replace("|", "\\|") for cell in row] for row in (table.head, *table.rows)]
    widths = [
        max(3, *(len(row[place]) for row in rows if len(row[place]) <= WIDE))
        for place in range(len(table.head))
    ]
    right = table.figures
    for number, row in enumerate(rows):
        cells = [
            cell.rjust(width) if figures else cell.ljust(width)
            for cell, width, figures in zip(row, widths, right, strict=True)
        ]
        yield f"| {' | '.join(cells)} |"
        if number == 0:
            rule = ["-" * (width - 1) + (":" if r else "-") for width, r in zip(widths, right, strict=True)]
            yield f"| {' | '.join(rule)} |"
    if table.note:
        yield ""
        yield f"*{_plain(table.note)}*"


def _plain(text: str) -> str:
    """Text in which Markdown sees no marks of its own."""
    for mark in ("\\", "`", "*", "<"):
        text = text.replace(mark, f"\\{mark}")
    return text
