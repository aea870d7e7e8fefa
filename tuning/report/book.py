"""What a study's page and its journal both hold: sections of words, tables, plots and commands. Values alone."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from raytrain.report.shapes import Frame, Line

NUMBER = r"[-+]?\d[\d.,]*(e[-+]\d+)?( ?%)?"
FIGURE = re.compile(rf"{NUMBER}( to {NUMBER})?|-?")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text under their heads."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    @property
    def figures(self) -> tuple[bool, ...]:
        """Which columns hold numbers alone, and so stand to the right."""
        return tuple(
            place > 0
            and any(row[place] for row in self.rows)
            and all(FIGURE.fullmatch(row[place]) for row in self.rows)
            for place in range(len(self.head))
        )


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Lines in their frame, not drawn yet: the journal and the tests need no picture."""

    frame: Frame
    lines: Sequence[Line]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A piece of the book. Its parts are shown in this order; one that has nothing is left away.

    `note` stands quietly behind the title, `legend` under the plots; `pairs` are names and their values.
    """

    title: str
    note: str = ""
    text: tuple[str, ...] = ()
    plots: tuple[Plot, ...] = ()
    legend: str = ""
    tables: tuple[Table, ...] = ()
    after: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Book:
    """A study in words: what it came to, in a sentence or a few; then how we know."""

    title: str
    headline: tuple[str, ...]
    sections: tuple[Section, ...]
