"""Figures of a study for people."""

import json
import shlex
from collections.abc import Sequence
from datetime import datetime

from raytrain.report.words import MANY
from tuning.dimension import Settings
from tuning.search.values import short


def share(error: float, of: int | None) -> str:
    """An error in percent, with the digits that so many images can tell."""
    return f"{100 * error:.{2 if of is None or of >= MANY else 1}f}%"


def points(difference: float, of: int | None = None) -> str:
    """A difference of errors in points, with its sign."""
    return f"{100 * difference:+.{2 if of is None or of >= MANY else 1}f}"


def value(held: object) -> str:
    """A field's value: yes, no and none; lists with commas; four digits of a number."""
    match held:
        case bool():
            return "yes" if held else "no"
        case None | () | []:
            return "none"
        case list() | tuple():
            return ", ".join(map(value, held))
        case _:
            return short(held)


def at(time: datetime) -> str:
    """A moment of the book, in UTC."""
    return f"{time:%Y-%m-%d %H:%M:%S}"


def hours(number: float) -> str:
    """Hours with three digits."""
    return f"{number:.3g}"


def listed(words: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)


def with_settings(command: str, settings: Settings) -> str:
    """A `raytrain train` with these settings, in the place of its own of the same paths. Values keep all digits."""
    words = shlex.split(command)
    kept: list[str] = []
    while words:
        word = words.pop(0)
        if word == "--set" and words[0].partition("=")[0].strip() in settings:
            words.pop(0)
        else:
            kept.append(word)
    sets = [part for path, value in settings.items() for part in ("--set", f"{path}={json.dumps(value)}")]
    return shlex.join([*kept, *sets])
