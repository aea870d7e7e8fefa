"""What a chart is made of: lines in a frame. Values alone, so that words about a chart load no matplotlib."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a chart: its points, the run's number, what is written at its end, and how it is drawn.

    style     "none" draws the points alone
    dots      whether each point is marked, by `marker`, filled or `hollow`: charts are read in grey too
    spread    half-widths of the points' intervals: across where the frame has rows, else up and down
    """

    xs: Sequence[float]
    ys: Sequence[float]
    run: int
    label: str = ""
    style: str = "-"
    dots: bool = False
    marker: str = "o"
    hollow: bool = False
    spread: Sequence[float] = ()


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Where lines are drawn, `width` x `height` in points; without room for the labels at their ends.

    figures         how numbers are written at the left (below, where there are `rows`)
    names           of the places 0, 1, ... along the bottom, instead of numbers
    rows            of the places 0, 1, ... from the top down the left, instead of numbers
    ends            first and last number along the bottom; from 0 to the last point where not given
    """

    title: str
    note: str = ""
    width: int = 520
    height: int = 250
    across: str = "epochs"
    figures: str = "{:g}"
    from_zero: bool = False
    log: bool = False
    names: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    ends: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart: its title, its unit, and its picture."""

    title: str
    note: str
    svg: str
    wide: bool
