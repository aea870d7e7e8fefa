"""Charts as inline SVG. Drawn by matplotlib in stand-in colours, which become CSS variables of the page: so a chart
follows the reader's light or dark theme, and a run has one colour everywhere.
"""

import io
import math
import re
from collections.abc import Sequence
from html import escape

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from raytrain.report.shapes import Chart, Frame, Line

COLOURS = 8
"""The page's palette, `--run-0` and on; the ninth run has the first one's colour again."""

INK, RULE = "#0001fe", "#0001fd"
POINTS_PER_INCH = 72
LETTER = 5.6
"""Points that a letter of a direct label takes, about."""

LINE_APART = 12.0
"""Points from one direct label's baseline to the next."""

MANY_DECADES = 50
"""From the first to the last: from so much on only powers of ten are written below a logarithmic axis."""

WIDE = 400
"""Points from which a chart is a wide one of the page."""


def drawn(frame: Frame, lines: Sequence[Line]) -> Chart:
    """The frame with its lines, those without points left out."""
    svg = _draw(frame, [line for line in lines if line.xs])
    return Chart(title=frame.title, note=frame.note, svg=svg, wide=frame.width > WIDE)


def _draw(frame: Frame, lines: Sequence[Line]) -> str:
    width, height = frame.width, frame.height
    left = 14 + LETTER * max(map(len, frame.rows)) if frame.rows else 46
    right = 12 + LETTER * max((len(line.label) for line in lines), default=0)
    with mpl.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": frame.title, "font.size": 10.5, "text.parse_math": False}
    ):
        figure = Figure(figsize=(width / POINTS_PER_INCH, height / POINTS_PER_INCH))
        low, high = 34 / height, 1 - 12 / height
        axes = figure.add_axes((left / width, low, 1 - (left + right) / width, high - low))
        _style(axes, frame)
        for line in lines:
            _plot(axes, line, across=bool(frame.rows))
        if frame.from_zero:
            axes.set_ylim(bottom=0)
        if frame.ends is not None:
            axes.set_xlim(*frame.ends)
        elif lines and not frame.names and not frame.rows:
            axes.set_xlim(0, max(max(line.xs) for line in lines))
        _name_ends(axes, [line for line in lines if line.label], (high - low) * height)
        return _svg(figure, frame.title)


def _plot(axes: Axes, line: Line, *, across: bool) -> None:
    colour = stand_in(line.run)
    axes.plot(
        line.xs,
        line.ys,
        linestyle=line.style,
        color=colour,
        linewidth=0.8 if line.style == "--" else 1.2,
        marker=line.marker if line.dots else None,
        markersize=4.6 if line.style == "none" else 3.2,
        markerfacecolor="none" if line.hollow else colour,
        markeredgewidth=1.0,
        solid_joinstyle="round",
        clip_on=False,
    )
    if line.spread:
        axes.errorbar(
            line.xs,
            line.ys,
            xerr=line.spread if across else None,
            yerr=None if across else line.spread,
            fmt="none",
            ecolor=colour,
            elinewidth=1.0,
            capsize=2.5,
        )


def _style(axes: Axes, frame: Frame) -> None:
    """Few ticks, light rules along the values, no frame."""
    axes.set_facecolor("none")
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set(color=RULE, linewidth=0.8)
    axes.grid(axis="x" if frame.rows else "y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, length=0, pad=5)
    _bottom(axes, frame)
    if frame.rows:
        axes.set_yticks(range(len(frame.rows)), frame.rows)
        axes.set_ylim(len(frame.rows) - 0.5, -0.5)
    else:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: frame.figures.format(y)))
    axes.set_xlabel(frame.across, color=INK, labelpad=2)


def _bottom(axes: Axes, frame: Frame) -> None:
    if frame.names:
        room = frame.width / (LETTER * (2 + max(map(len, frame.names))))
        every = math.ceil(len(frame.names) / room)
        axes.set_xticks(range(0, len(frame.names), every), frame.names[::every])
        axes.set_xlim(-0.5, len(frame.names) - 0.5)
    elif frame.log:
        axes.set_xscale("log")
        low, high = frame.ends or axes.get_xlim()
        subs = (1, 2, 5) if high / low < MANY_DECADES else (1,)
        axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=7))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: brief(x)))
    else:
        whole = frame.ends is None and not frame.rows
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=whole, steps=[1, 2, 5, 10]))
        form = frame.figures.format if frame.rows else brief
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: form(x)))


def brief(number: float) -> str:
    """A number below an axis: 0.05, 250, 2,500, 250k, 384M."""
    if abs(number) >= 1e6:
        return f"{number / 1e6:g}M"
    if abs(number) >= 1e4:
        return f"{number / 1e3:g}k"
    return f"{number:,.0f}" if abs(number) >= 1e3 else f"{number:g}"


def _name_ends(axes: Axes, lines: Sequence[Line], height: float) -> None:
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
            color=stand_in(line.run),
            annotation_clip=False,
        )


def stand_in(run: int) -> str:
    """The colour that becomes the run's own on the page; not #000000: black is left out of SVG."""
    return f"#0001{run % COLOURS:02x}"


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
        lambda found: f'<svg viewBox="{found[1]}" role="img" aria-label="{escape(title)}">',
        svg,
        count=1,
    )
    for run in range(COLOURS):
        svg = svg.replace(stand_in(run), f"var(--run-{run})")
    return svg.replace(INK, "var(--quiet)").replace(RULE, "var(--rule)")
