"""A condition of a verdict: one that does not hold refuses it, and says why."""

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from data_shards.shardset import Value

Name = Literal["feasible", "samples", "effect", "stable", "boundary", "nuisance", "tuned again"]


class Condition(Value):
    """Something that must hold, what was found (`figure`: the same in a word), and how to make it hold."""

    name: Name
    holds: bool
    figure: str
    found: str
    remedy: str = ""

    @property
    def cell(self) -> str:
        """For a table."""
        return f"{'✓' if self.holds else '✗'} {self.figure}"


def columns(rows: Iterable[Sequence[Condition]]) -> list[str]:
    """The names of all, in their order."""
    asked = {condition.name for row in rows for condition in row}
    return [name for name in get_args(Name) if name in asked]


def cells(conditions: Sequence[Condition], names: Sequence[str]) -> list[str]:
    """A row of a table with these columns, empty where a condition was not asked for."""
    by_name = {str(condition.name): condition.cell for condition in conditions}
    return [by_name.get(name, "") for name in names]
