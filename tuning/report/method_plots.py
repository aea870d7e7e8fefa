"""What a methodology's page draws: the way to the target, the effects of a round, learning curves, the data's curve."""

from collections.abc import Sequence
from statistics import fmean

import numpy as np

from raytrain.report.shapes import Frame, Line
from tuning.method.curve import fit_curve
from tuning.method.gaps import error
from tuning.method.values import Effect
from tuning.report.book import Plot
from tuning.report.stations import Station

HELPS, HURTS, NEITHER = 2, 1, 7
"""Colours of the page."""

WIDEST, NAMED = 950, 8
"""Points that a page is wide, and how many incumbents have room for their names."""

EFFECTS_LEGEND = (
    "Bars are 2 standard errors. Filled: it counts, beyond 3 standard errors and the least effect that matters "
    "(dashed). Hollow: it does not."
)


def way(found: Sequence[Station]) -> Plot:
    """The errors of each incumbent, and the target."""
    places = list(range(len(found)))
    spec = found[0].state.spec
    across = [-0.5, len(found) - 0.5]
    lines = [
        Line(
            xs=places,
            ys=[100 * station.gaps.minival for station in found],
            run=0,
            label="held-out",
            dots=True,
            spread=[200 * station.gaps.standard_error for station in found],
        ),
        Line(
            xs=places,
            ys=[100 * station.gaps.train for station in found],
            run=7,
            label="clean training",
            dots=True,
            hollow=True,
        ),
        Line(xs=across, ys=[100 * spec.target.error] * 2, run=2, label="target", style="--"),
    ]
    if spec.floor.known:
        lines.append(Line(xs=across, ys=[100 * spec.floor.high] * 2, run=1, label="floor", style="--"))
    names = tuple(station.name for station in found)
    return Plot(
        frame=Frame(
            title="The way to the target",
            note="error, %; bars are 2 standard errors",
            width=max(420, min(WIDEST, 150 + 100 * len(found))),
            across="" if len(found) <= NAMED else "changes made",
            names=names if len(found) <= NAMED else tuple(map(str, range(len(found)))),
        ),
        lines=lines,
    )


def forest(effects: Sequence[Effect], least: float) -> Plot:
    """The effects of a round, one below the other."""
    lines = []
    for place, one in enumerate(effects):
        colour = HELPS if one.counts else HURTS if one.mean > one.least else NEITHER
        lines.append(
            Line(
                xs=[100 * one.mean],
                ys=[place],
                run=colour,
                style="none",
                dots=True,
                hollow=not one.counts,
                spread=[200 * one.standard_error],
            )
        )
    rows = tuple(one.change.name for one in effects)
    ends = [-0.5, len(rows) - 0.5]
    lines.append(Line(xs=[0.0, 0.0], ys=ends, run=NEITHER))
    lines.append(Line(xs=[-100 * least] * 2, ys=ends, run=HELPS, style="--"))
    return Plot(
        frame=Frame(
            title="What each change did",
            note="points of held-out error, to the left is better",
            height=60 + 26 * len(rows),
            across="",
            rows=rows,
        ),
        lines=lines,
    )


def learning(station: Station) -> Plot | None:
    """The incumbent's curves, a colour per seed; None where nothing was evaluated on the way."""
    lines: list[Line] = []
    for seed, reading in station.readings.items():
        held = [(point.samples, 100 * point.minival) for point in reading.curve]
        clean = [(point.samples, 100 * point.train) for point in reading.curve if point.train is not None]
        if len(held) > 1:
            xs, ys = zip(*held, strict=True)
            lines.append(Line(xs=xs, ys=ys, run=seed, label=f"seed {seed}", dots=len(xs) < 20))
        if len(clean) > 1:
            xs, ys = zip(*clean, strict=True)
            lines.append(Line(xs=xs, ys=ys, run=seed, style="--"))
    if not lines:
        return None
    frame = Frame(
        title="Learning curves", note="error, %; dashed on clean training images", across="training samples"
    )
    return Plot(frame=frame, lines=lines)


def images(station: Station) -> Plot | None:
    """The error over the number of training images, with the curve through it; None where shares were not trained."""
    readings = station.readings.values()
    now = next(iter(readings)).train_samples
    points = {now: [error(reading) for reading in readings]}
    here = station.state.settings, station.state.trial(0).length
    for row in station.state.trained.values():
        change, trial = row.trial.change, row.trial
        part = change is not None and change.kind in ("half_data", "quarter_data")
        if part and (trial.settings, trial.length) == here and row.reading.minival is not None:
            points.setdefault(row.reading.train_samples, []).append(error(row.reading))
    if len(points) < 3:
        return None
    target = station.state.spec.target.error
    fit = fit_curve(
        {images / now: errors for images, errors in points.items()},
        images=now,
        target=target,
        lowest=station.state.spec.floor.low,
        deviation=0.0,
        rng=np.random.default_rng(0),
    )
    shares = np.geomspace(min(points) / now, 4.0, 40)
    xs = sorted(points)
    return Plot(
        frame=Frame(
            title="Error over training images",
            note="error, %; the line is a m^-b + c",
            across="training images",
            log=True,
            ends=(min(points) / 1.2, now * 4.0),
        ),
        lines=[
            Line(
                xs=[float(now * share) for share in shares],
                ys=[100 * fit.error(float(share)) for share in shares],
                run=0,
            ),
            Line(xs=xs, ys=[100 * fmean(points[x]) for x in xs], run=0, style="none", dots=True),
            Line(xs=[min(points) / 1.2, now * 4.0], ys=[100 * target] * 2, run=2, style="--", label="target"),
        ],
    )
