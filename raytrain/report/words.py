"""Words and figures of a report: names, percentages, the headline, the table. Pure functions."""

import math
from collections.abc import Sequence
from pathlib import PurePath

from raytrain.evaluation import Evaluation
from raytrain.report.build import Report

MANY = 10_000  # from so many images on a hundredth of a percent is a whole image
MARGIN = 1.96  # standard errors of a 95 % interval


def labels(reports: Sequence[Report]) -> list[str]:
    """A short name for each run: its recipe's, or as much of its folder's path as tells the runs apart."""
    names = [report.name for report in reports]
    parts = [PurePath(report.run).parts for report in reports]
    for depth in range(1, max(map(len, parts), default=0) + 1):
        if len(set(names)) == len(names):
            break
        names = ["/".join(path[-depth:]) for path in parts]
    return names


def percent(fraction: float, samples: int) -> str:
    """A fraction in percent, with the digits that so many samples can tell: 61.2, or 83.42 for ImageNet's 50,000."""
    return f"{100 * fraction:.{2 if samples >= MANY else 1}f}"


def standard_error(evaluation: Evaluation) -> float:
    """Of top-1, as a fraction: the held-out images are a draw of so many (binomial)."""
    return math.sqrt(evaluation.top1 * (1 - evaluation.top1) / evaluation.samples)


def duration(seconds: float) -> str:
    """Seconds for people: 0.8 s, 42 s, 3 min 20 s, 5 h 12 min."""
    whole = round(seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def headline(reports: Sequence[Report]) -> list[str]:
    """What happened, in a sentence per held-out set and one per unfinished run."""
    named = list(zip(labels(reports), reports, strict=True))
    groups: dict[tuple[str, str], list[tuple[str, Report, Evaluation]]] = {}
    for label, report in named:
        if report.finished and report.evaluation is not None:
            same = (report.plan.data.fingerprint, report.plan.recipe.eval_split)
            groups.setdefault(same, []).append((label, report, report.evaluation))
    return [_best_of(group) for group in groups.values()] + [
        _so_far(label, report) for label, report in named if not report.finished
    ]


def _best_of(group: list[tuple[str, Report, Evaluation]]) -> str:
    """One sentence on the runs that were evaluated on the same images."""
    (label, report, best), *others = sorted(group, key=lambda entry: -entry[2].top1)
    lengths, images, epochs = report.plan.lengths, best.samples, report.plan.recipe.epochs
    said = (
        f"{label} reached {percent(best.top1, images)} % top-1 on {images:,} held-out images "
        f"after {lengths.steps:,} steps ({epochs:g} epoch{'' if epochs == 1 else 's'})"
    )
    if others:
        name, _, second = others[0]
        margin = MARGIN * math.hypot(standard_error(best), standard_error(second))
        said += (
            f"; {points(best.top1 - second.top1, images)} {name}{', the next' if len(others) > 1 else ''} "
            f"(95 % margin: ±{percent(margin, images)})"
        )
    published = report.plan.recipe.published
    if published is not None:
        said += f"; {points(best.top1 - published.top1 / 100, images)} the published {published.top1:g} %"
    return said + "."


def points(difference: float, samples: int) -> str:
    """A difference of accuracies as words that a name can follow: `4.0 points above`."""
    size = percent(abs(difference), samples)
    if float(size) == 0:
        return "level with"
    return f"{size} points {'above' if difference > 0 else 'below'}"


def _so_far(label: str, report: Report) -> str:
    steps = report.plan.lengths.steps
    said = f"{label} has not finished: step {report.step:,} of {steps:,}"
    found = report.evaluation
    if found is None:
        return f"{said}, not evaluated yet."
    return (
        f"{said}; its last evaluation, at step {report.evaluated_step:,}, found "
        f"{percent(found.top1, found.samples)} % top-1 on {found.samples:,} held-out images."
    )


COLUMNS = {
    "run": "",
    "steps": "",
    "top-1": "%",
    "EMA top-1": "%",
    "top-5": "%",
    "loss": "",
    "calibration error": "%",
    "published top-1": "%",
    "difference": "points",
    "parameters": "M",
    "compute": "GMAC",
    "image": "px",
    "speed": "images/s",
    "data wait": "%",
    "resumed": "",
    "plan": "",
}
"""The table's columns and their units."""
NOTE = "±: one standard error of top-1 for so many images. GMAC: 10^9 multiply-adds of one image."


def table(reports: Sequence[Report]) -> list[dict[str, str]]:
    """A row of text per run, by column; empty where there is nothing to say."""
    return [_row(label, report) for label, report in zip(labels(reports), reports, strict=True)]


def columns(rows: list[dict[str, str]]) -> list[str]:
    """The columns in which some run has something to say."""
    return [column for column in COLUMNS if any(row[column] for row in rows)]


def _row(label: str, report: Report) -> dict[str, str]:
    plan, timing = report.plan, report.timing
    stepping = timing.compute + timing.data_wait
    steps = f"{plan.lengths.steps:,}"
    row = {
        "run": label,
        "steps": steps if report.finished else f"{report.step:,} of {steps}",
        "parameters": f"{plan.estimates.parameters / 1e6:.2f}",
        "compute": f"{plan.estimates.forward_gmacs:.3g}",
        "image": str(plan.recipe.view.image_size),
        "speed": "" if timing.images_per_second is None else f"{timing.images_per_second:,.0f}",
        "data wait": f"{100 * timing.data_wait / stepping:.1f}" if stepping else "",
        "resumed": str(report.resumed),
        "plan": report.plan_hash,
    }
    if plan.recipe.published is not None:
        row["published top-1"] = f"{plan.recipe.published.top1:g}"
    if report.evaluation is not None:
        row |= _figures(report.evaluation)
        if report.evaluations and (average := report.evaluations[-1].ema) is not None:
            row["EMA top-1"] = percent(average.top1, report.evaluation.samples)
        if report.finished and plan.recipe.published is not None:
            row["difference"] = f"{100 * report.evaluation.top1 - plan.recipe.published.top1:+.2f}"
    return {column: row.get(column, "") for column in COLUMNS}


def _figures(found: Evaluation) -> dict[str, str]:
    return {
        "top-1": f"{percent(found.top1, found.samples)} ± {percent(standard_error(found), found.samples)}",
        "top-5": percent(found.top5, found.samples),
        "loss": f"{found.loss:.3f}",
        "calibration error": percent(found.calibration_error, found.samples),
    }


def markdown(reports: Sequence[Report]) -> str:
    """The headline, and the runs side by side with the published rows, as a Markdown table."""
    rows = table(reports)
    used = columns(rows)
    heads = [f"{column}, {COLUMNS[column]}" if COLUMNS[column] else column for column in used]
    lines = [heads, *([row[column].replace("|", "\\|") for column in used] for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(used))]
    aligned = [
        "| "
        + " | ".join(_pad(cell, width, at) for at, (cell, width) in enumerate(zip(line, widths, strict=True)))
        + " |"
        for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 1) + (":" if at else "-") for at, width in enumerate(widths)) + "|"
    return "\n".join([*headline(reports), "", aligned[0], rule, *aligned[1:], "", NOTE])


def _pad(cell: str, width: int, column: int) -> str:
    """Names to the left, figures to the right."""
    return cell.rjust(width) if column else cell.ljust(width)
