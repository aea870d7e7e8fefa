"""A condition of a verdict: one that does not hold refuses it, and says why."""

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from data_shards.shardset import Value

Name = Literal["feasible", "samples", "effect", "stable", "boundary", "nuisance", "tuned again"]

PLAIN: dict[Name, str] = {
    "feasible": "most trials came to nothing",
    "samples": "too few trainings tell it",
    "effect": "luck alone may do as much",
    "stable": "other draws of the same trials name another best",
    "boundary": "the best lies at an end of what was tried",
    "nuisance": "something tuned beside it is best at an end of what was tried",
    "tuned again": "what moves with the size stayed fixed",
}
"""Why a condition refuses, for a headline: the names are for tables."""


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


def why(conditions: Iterable[Condition]) -> list[str]:
    """The reasons in plain words, each once."""
    return list(dict.fromkeys(PLAIN[condition.name] for condition in conditions))


def columns(rows: Iterable[Sequence[Condition]]) -> list[str]:
    """The names of all, in their order."""
    asked = {condition.name for row in rows for condition in row}
    return [name for name in get_args(Name) if name in asked]


def cells(conditions: Sequence[Condition], names: Sequence[str]) -> list[str]:
    """A row of a table with these columns, empty where a condition was not asked for."""
    by_name = {str(condition.name): condition.cell for condition in conditions}
    return [by_name.get(name, "") for name in names]
