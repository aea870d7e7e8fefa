"""The charts of runs, side by side: loss, accuracy, learning rate, throughput."""

from collections.abc import Callable, Sequence

from raytrain.report.build import CurvePoint, Report
from raytrain.report.draw import drawn
from raytrain.report.shapes import Chart, Frame, Line
from raytrain.report.words import labels


def charts(reports: Sequence[Report]) -> list[Chart]:
    """The page's charts, in order. A run without a point in one of them is left out of it."""
    names = labels(reports)
    published = "dashed: published" if any(report.plan.recipe.published for report in reports) else ""
    averaged = "dotted: average of the weights (EMA)" if any(map(has_average, reports)) else ""
    sliced = "dash-dotted: training images, as held-out ones are seen" if any(map(has_slice, reports)) else ""
    note = "; ".join(filter(None, [published, averaged, sliced]))
    return [
        _wide(
            "Loss", "line: training, as optimized; dots: held out", _losses(reports, names), from_zero=False
        ),
        _wide(
            "Top-1 on held-out and training images, %" if sliced else "Top-1 on held-out images, %",
            note,
            _accuracies(reports, names),
            from_zero=True,
        ),
        _small("Learning rate", _over(reports, lambda point: point.lr), "{:g}"),
        _small("Throughput, images/s", _over(reports, lambda point: point.images_per_second), "{:,.0f}"),
        _small("Waiting for data, % of a step", _over(reports, lambda point: 100 * point.data_wait), "{:g}"),
    ]


def has_average(report: Report) -> bool:
    """Whether the run's evaluations have figures of the weights' average."""
    return any(point.ema is not None for point in report.evaluations)


def has_slice(report: Report) -> bool:
    """Whether some of the training images were evaluated too."""
    return any(point.train is not None for point in report.evaluations)


def _losses(reports: Sequence[Report], names: list[str]) -> list[Line]:
    lines = _over(reports, lambda point: point.loss, names)
    for run, report in enumerate(reports):
        found = report.evaluations
        lines.append(
            Line(xs=[e.epoch for e in found], ys=[e.loss for e in found], run=run, style="none", dots=True)
        )
    return lines


def _accuracies(reports: Sequence[Report], names: list[str]) -> list[Line]:
    lines = []
    for run, (report, name) in enumerate(zip(reports, names, strict=True)):
        xs, ys = [e.epoch for e in report.evaluations], [100 * e.top1 for e in report.evaluations]
        lines.append(Line(xs=xs, ys=ys, run=run, label=f"{ys[-1]:.1f}  {name}" if ys else "", dots=True))
        average = [(e.epoch, 100 * e.ema.top1) for e in report.evaluations if e.ema is not None]
        if average:
            xs, ys = map(list, zip(*average, strict=True))
            lines.append(Line(xs=xs, ys=ys, run=run, label=f"{ys[-1]:.1f}  {name}, EMA", style=":"))
        train = [(e.epoch, 100 * e.train.top1) for e in report.evaluations if e.train is not None]
        if train:
            xs, ys = map(list, zip(*train, strict=True))
            lines.append(Line(xs=xs, ys=ys, run=run, label=f"{ys[-1]:.1f}  {name}, training", style="-."))
        published = report.plan.recipe.published
        if published is not None:
            ends = [0.0, report.plan.recipe.epochs]
            lines.append(
                Line(
                    xs=ends,
                    ys=[published.top1] * 2,
                    run=run,
                    label=f"{published.top1:g}  published",
                    style="--",
                )
            )
    return lines


def _over(
    reports: Sequence[Report], value: Callable[[CurvePoint], float], names: Sequence[str] = ()
) -> list[Line]:
    """A line per run over its training curve; named at its end where names are given."""
    return [
        Line(
            xs=[point.epoch for point in report.curve],
            ys=[value(point) for point in report.curve],
            run=run,
            label=names[run] if names else "",
        )
        for run, report in enumerate(reports)
    ]


def _wide(title: str, note: str, lines: list[Line], *, from_zero: bool) -> Chart:
    """A large chart, with the runs' names at the ends of their lines."""
    return drawn(Frame(title=title, note=note, from_zero=from_zero), lines)


def _small(title: str, lines: list[Line], figures: str) -> Chart:
    """A small chart from zero; the colours say which run is which."""
    return drawn(Frame(title=title, width=340, height=170, figures=figures, from_zero=True), lines)
