"""The papers' tables and the cards as text, for a terminal of 100 columns."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raytrain.models.named import counted_as, named, named_specs, native_size
from raytrain.models.verdict import EQUAL, TRUNCATED, Figure, Row, counts

COLUMNS = 100
"""What the table needs: on less, rich would leave out digits."""

UNITS = (
    "params: millions learned, with 1000 classes. GFLOPs: 10^9 multiply-adds of one image's convolutions and matrix "
    "products, which is what the papers call FLOPs."
)


def table(rows: Sequence[Row]) -> RenderableType:
    """All rows, a section per table of the papers; why a figure differs stands below, once."""
    reasons = list(dict.fromkeys(why(held) for row in rows for held in row.figures.values() if held.differs))
    parts: list[RenderableType] = [Text(UNITS), Text()]
    for (paper, title), section in groupby(rows, lambda row: (row.card.paper, row.card.table)):
        grid = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
        grid.title, grid.title_justify, grid.title_style = f"{paper}, {title}", "left", "bold"
        grid.add_column("model", no_wrap=True, width=27)
        grid.add_column("row", no_wrap=True, width=24)
        for heading, width in (("params", 6), ("ours", 7), ("GFLOPs", 6), ("ours", 7)):
            grid.add_column(heading, justify="right", no_wrap=True, width=width)
        grid.add_column("verdict", no_wrap=True)
        for row in section:
            cells = [str(cell) for held in row.figures.values() for cell in (held.printed or "-", held.ours)]
            grid.add_row(row.card.model, row.card.row, *cells, _in_short(row, reasons))
        parts += [grid, Text()]
    notes = [Text(f"({number}) {reason}.") for number, reason in enumerate(reasons, 1)]
    return Group(*parts, *notes, Text(), Text(_tally(rows)), Text(_untabled(rows)))


def why(held: Figure) -> str:
    """The reason of a figure that differs."""
    return held.verdict.removeprefix("differs: ")


def _in_short(row: Row, reasons: list[str]) -> str:
    """The verdict in a few words; a reason is told by its number."""
    verdicts = [held.verdict for held in row.figures.values()]
    if verdicts[0] == verdicts[1]:
        return (
            f"both differ ({reasons.index(why(row.params_m)) + 1})" if row.params_m.differs else verdicts[0]
        )
    said = []
    for name, held in row.figures.items():
        if held.differs:
            said.append(f"{name} differ ({reasons.index(why(held)) + 1})")
        elif held.verdict == TRUNCATED:
            said.append(f"{name} truncated")
    return ", ".join(said)


def _tally(rows: Sequence[Row]) -> str:
    held = [held for row in rows for held in row.figures.values() if held.printed is not None]
    equal, cut = (sum(one.verdict == kind for one in held) for kind in (EQUAL, TRUNCATED))
    return (
        f"{len(rows)} rows, {len(held)} printed figures: {equal} equal, {cut} equal as printed (truncated), "
        f"{len(held) - equal - cut} differ for the reasons above."
    )


def _untabled(rows: Sequence[Row]) -> str:
    others = named_specs().keys() - {row.card.model for row in rows}
    return f"{len(others)} more networks are in no table: {', '.join(sorted(others))}."


def details(name: str, rows: Sequence[Row]) -> str:
    """One network: what it is, our counts, and every row of the papers' tables that is its own."""
    size = native_size(name)
    learned, macs = counts(name, size)
    fields = [f"  {field:<16}{value}" for field, value in named(name).model_dump(mode="json").items()]
    own = [f"  parameters      {learned:,}", f"  multiply-adds   {macs:,} at {size} px"]
    printed = [line for row in rows for line in _printed(row)]
    return "\n".join([name, *fields, "ours, with 1000 classes", *own, *(printed or _unprinted(name))])


def _printed(row: Row) -> Iterator[str]:
    """What a paper prints of it."""
    card = row.card
    yield f"{card.paper}, {card.table}: {card.row}"
    for label, unit, held in (("parameters", "M", row.params_m), ("GFLOPs", "G", row.gflops)):
        yield f"  {label:<16}" + (
            held.verdict if held.printed is None else f"{held.printed} {unit}: {held.verdict}"
        )
    yield f"  {'top-1 error' if card.error else 'top-1':<16}{card.top1} %"
    if card.top5:
        yield f"  {'top-5 error':<16}{card.top5} %"
    if card.note:
        yield f"  note            {card.note}"


def _unprinted(name: str) -> list[str]:
    other = counted_as(name)
    return ["in no table of the papers" + (f"; what they count in its place is {other}" if other else "")]
