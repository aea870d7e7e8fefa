"""Line charts as inline SVG. Drawn by matplotlib in stand-in colours, which become CSS variables of the page:
so a chart follows the reader's light or dark theme, and a run has one colour everywhere.
"""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from raytrain.report.build import CurvePoint, Report
from raytrain.report.words import labels

COLOURS = 8
"""The page's palette, `--run-0` and on; the ninth run has the first one's colour again."""

INK, RULE = "#0001fe", "#0001fd"
POINTS_PER_INCH = 72
LETTER = 5.6
"""Points that a letter of a direct label takes, about."""

LINE_APART = 12.0
"""Points from one direct label's baseline to the next."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a chart: its points, the run's number, what is written at its end, and how it is drawn."""

    xs: Sequence[float]
    ys: Sequence[float]
    run: int
    label: str = ""
    style: str = "-"
    dots: bool = False


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart: its title, its unit, and its picture."""

    title: str
    note: str
    svg: str
    wide: bool


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
    margin = 12 + LETTER * max(len(line.label) for line in lines)
    svg = _draw(title, lines, 520, 250, margin, "{:g}", from_zero=from_zero)
    return Chart(title=title, note=note, svg=svg, wide=True)


def _small(title: str, lines: list[Line], figures: str) -> Chart:
    """A small chart from zero; the colours say which run is which."""
    svg = _draw(title, lines, 340, 170, 12, figures, from_zero=True)
    return Chart(title=title, note="", svg=svg, wide=False)


def _draw(
    title: str, lines: list[Line], width: int, height: int, margin: float, figures: str, *, from_zero: bool
) -> str:
    """`width` x `height` in points, of which `margin` at the right are for names."""
    lines = [line for line in lines if line.xs]
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.size": 10.5}):
        figure = Figure(figsize=(width / POINTS_PER_INCH, height / POINTS_PER_INCH))
        left, low, high = 46 / width, 34 / height, 1 - 12 / height
        axes = figure.add_axes((left, low, 1 - left - margin / width, high - low))
        _style(axes, figures)
        for line in lines:
            axes.plot(
                line.xs,
                line.ys,
                linestyle=line.style,
                color=_stand_in(line.run),
                linewidth=0.8 if line.style == "--" else 1.2,
                marker="o" if line.dots else None,
                markersize=3.2,
                solid_joinstyle="round",
                clip_on=False,
            )
        if from_zero:
            axes.set_ylim(bottom=0)
        if lines:
            axes.set_xlim(0, max(max(line.xs) for line in lines))
            _name_ends(axes, [line for line in lines if line.label], (high - low) * height)
        return _svg(figure, title)


def _style(axes: Axes, figures: str) -> None:
    """Few ticks, light horizontal rules, no frame."""
    axes.set_facecolor("none")
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set(color=RULE, linewidth=0.8)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, length=0, pad=5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: figures.format(y)))
    axes.set_xlabel("epochs", color=INK, labelpad=2)


def _name_ends(axes: Axes, lines: list[Line], height: float) -> None:
    """Write each label beside its line's end, moved up just as far as it must be to stand clear of the one below."""
    low, high = axes.get_ylim()
    unit = (high - low) / height  # of the axis, per point on paper
    lowest = low
    for line in sorted(lines, key=lambda line: line.ys[-1]):
        y = max(line.ys[-1], lowest)
        lowest = y + LINE_APART * unit
        axes.annotate(
            line.label,
            (1, y),
            xycoords=("axes fraction", "data"),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            color=_stand_in(line.run),
            annotation_clip=False,
            parse_math=False,
        )


def _stand_in(run: int) -> str:
    return f"#0001{run % COLOURS:02x}"  # not #000000: black is left out of SVG


def _svg(figure: Figure, title: str) -> str:
    """The picture without prolog and size, in the page's colours."""
    figure.patch.set_visible(False)
    written = io.StringIO()
    figure.savefig(
        written, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(
        r'<svg[^>]*viewBox="([^"]*)"[^>]*>',
        rf'<svg viewBox="\1" role="img" aria-label="{title}">',
        svg,
        count=1,
    )
    for run in range(COLOURS):
        svg = svg.replace(_stand_in(run), f"var(--run-{run})")
    return svg.replace(INK, "var(--quiet)").replace(RULE, "var(--rule)")
