"""What a sweep's page draws: each parameter alone, the best trials' curves, two objectives against each other."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from raytrain.report.shapes import Frame, Line
from raytrain.runlog import EVALUATIONS, read_rows
from tuning.dimension import Choice, Range
from tuning.report.book import Plot
from tuning.report.spots import Drawn, Ended, Spot, spots
from tuning.search.rows import TRIALS, SweepState
from tuning.search.state import told
from tuning.search.table import UNITS
from tuning.search.told import Objective, Told, front
from tuning.search.values import short
from tuning.space import Param

MARKS: Mapping[tuple[Drawn, Ended], tuple[str, int, bool]] = {
    ("evenly", "done"): ("o", 0, False),
    ("chosen", "done"): ("o", 0, True),
    ("own", "done"): ("D", 2, False),
    ("evenly", "stopped"): ("v", 7, False),
    ("chosen", "stopped"): ("v", 7, True),
    ("own", "stopped"): ("D", 2, True),
    ("evenly", "lost"): ("x", 1, False),
    ("chosen", "lost"): ("x", 1, False),
    ("own", "lost"): ("x", 1, False),
}
"""Marker, colour and whether it is hollow: told apart without colours too."""

LEGEND = (
    "● trained to its end · ▼ stopped early, with its error then · ◆ the recipe as it is · a cross: diverged, failed "
    "or did not fit, so it has no error. Hollow: chosen by TPE, which looks where it was good before; not compared."
)
CURVES = 3


def isolation(state: SweepState, param: Param, head: str) -> Plot:
    """The error over one parameter, whatever the others were; trials without an error stand at the top."""
    found = spots(state, param)
    errors = [100 * spot.error for spot in found if spot.error is not None and spot.ended != "lost"]
    low, high = min(errors, default=0.0), max(errors, default=100.0)
    top = high + 0.12 * ((high - low) or 1.0)
    dimension = param.dimension
    names = () if isinstance(dimension, Range) else tuple(map(str, dimension.values or ()))
    lines = [_best(param, found)] if names and not isinstance(dimension, Choice) else []
    for (drawn, ended), (marker, colour, hollow) in MARKS.items():
        own = [spot for spot in found if (spot.drawn, spot.ended) == (drawn, ended)]
        lines.append(
            Line(
                xs=[_along(param, spot) for spot in own],
                ys=[top if spot.error is None or ended == "lost" else 100 * spot.error for spot in own],
                run=colour,
                style="none",
                dots=True,
                marker=marker,
                hollow=hollow,
            )
        )
    ends = (dimension.low, dimension.high) if isinstance(dimension, Range) else None
    return Plot(
        frame=Frame(
            title=head,
            note=f"error, % · {param.role}",
            width=340,
            height=190,
            across="",
            log=isinstance(dimension, Range) and dimension.log,
            names=names,
            ends=ends,
        ),
        lines=[line for line in lines if line.xs],
    )


def _along(param: Param, spot: Spot) -> float:
    if isinstance(param.dimension, Range):
        return float(spot.value)
    values = param.dimension.values
    assert values is not None
    return float(values.index(spot.value))


def _best(param: Param, found: Sequence[Spot]) -> Line:
    """The least error of each value that has an order: what the others, at their best, leave of it."""
    lows: dict[float, float] = {}
    for spot in found:
        if spot.error is not None and spot.ended == "done":
            place = _along(param, spot)
            lows[place] = min(lows.get(place, 100.0), 100 * spot.error)
    return Line(xs=sorted(lows), ys=[lows[place] for place in sorted(lows)], run=0)


def curves(best: Sequence[Told], study: Path) -> Plot:
    """The error on the way, of the best; from the runs' own evaluations where they are there."""
    lines = []
    for place, row in enumerate(best[:CURVES]):
        found = _evaluated(study / TRIALS / f"{row.number:03d}") or row.rungs
        lines.append(
            Line(
                xs=[samples for samples, _ in found],
                ys=[100 * error for _, error in found],
                run=place,
                label=f"trial {row.number}",
                dots=len(found) < 20,
            )
        )
    return Plot(
        frame=Frame(title="Curves of the best", note="error, %", across="training samples"), lines=lines
    )


def _evaluated(run: Path) -> list[tuple[int, float]]:
    return [(row["samples"], 1 - row["top1"]) for row in read_rows(run / EVALUATIONS)]


def fronts(state: SweepState) -> list[Plot]:
    """The error against each further objective, and the front."""
    rows = [row for row in told(state) if row.state == "done"]
    first, *others = state.study.objectives
    return [_front(rows, (first, other), UNITS[other]) for other in others]


def _front(rows: Sequence[Told], pair: tuple[Objective, Objective], name: str) -> Plot:
    ahead = sorted(front(rows, pair), key=lambda row: row.values[pair[1]])
    dots = [row for row in rows if row not in ahead and pair[1] in row.values]

    def line(of: Sequence[Told], run: int, style: str) -> Line:
        xs, ys = [row.values[pair[1]] for row in of], [100 * row.values[pair[0]] for row in of]
        return Line(xs=xs, ys=ys, run=run, style=style, dots=True)

    values = [row.values[pair[1]] for row in rows if pair[1] in row.values]
    margin = 0.05 * (max(values) - min(values) or max(values))
    frame = Frame(
        title=f"Error against {name}",
        note="error, % · the line joins the trials that no other beats in both",
        across=name,
        ends=(min(values) - margin, max(values) + margin),
    )
    return Plot(frame=frame, lines=[line(dots, 7, "none"), line(ahead, 0, "-")])


def value_of(row: Told, name: str) -> str:
    """A trial's value of a parameter, for a table."""
    return short(row.point[name]) if name in row.point else "-"
