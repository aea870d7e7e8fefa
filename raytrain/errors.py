"""What can go wrong with a run.

RunError                a run cannot go on: damaged checkpoint, foreign output, non-finite training (exit code 1)
├── DivergedError       its numbers are not finite: other values of the recipe may do (exit code 1)
├── UsageError          the request is wrong: unknown recipe, field or value (exit code 2)
└── ResumeLater         the run was asked to stop and can be continued (exit code 75)

Every message names the value, the limit and the knob. All are picklable: they travel from a Ray worker
to the terminal as they are.
"""

import difflib
from collections.abc import Iterable
from typing import ClassVar


class RunError(Exception):
    """A run cannot go on."""

    exit_code: ClassVar[int] = 1


class DivergedError(RunError):
    """The run's numbers are not finite."""


class UsageError(RunError):
    """The request is wrong: nothing was started."""

    exit_code: ClassVar[int] = 2


class ResumeLater(RunError):  # noqa: N818 -- not a failure: the same command continues the run
    """The run stopped on request, with a checkpoint; the same command continues it."""

    exit_code: ClassVar[int] = 75


def nearest(wrong: str, known: Iterable[str]) -> str:
    """For a message about a name that is not known: "; the nearest: " and up to three, or "" where none is like it."""
    near = difflib.get_close_matches(wrong, list(known), n=3, cutoff=0.3)
    return f"; the nearest: {', '.join(near)}" if near else ""
