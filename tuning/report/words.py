"""Figures of a study for people."""

from collections.abc import Sequence
from datetime import datetime

from raytrain.report.words import MANY


def share(error: float, of: int | None) -> str:
    """An error in percent, with the digits that so many images can tell."""
    return f"{100 * error:.{2 if of is None or of >= MANY else 1}f}%"


def points(difference: float, of: int | None = None) -> str:
    """A difference of errors in points, with its sign."""
    return f"{100 * difference:+.{2 if of is None or of >= MANY else 1}f}"


def at(time: datetime) -> str:
    """A moment of the book, in UTC."""
    return f"{time:%Y-%m-%d %H:%M:%S}"


def hours(number: float) -> str:
    """Hours with three digits."""
    return f"{number:.3g}"


def listed(words: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)
