"""Render: reports become one page that needs nothing else. No network, no script; light, dark and on paper."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_shards.shardset import Value
from data_shards.store import open_store
from raytrain.evaluation import Evaluation
from raytrain.report.build import Report
from raytrain.report.words import COLUMNS, columns, duration, headline, labels, percent, standard_error, table

if TYPE_CHECKING:
    from jinja2 import Template

    from raytrain.report.pictures import Picture

PAGE, DATA = "report.html", "report.json"
MOST_CLASSES = 12  # of the confusion table: more cannot be read at a glance
DIGEST = 64  # hex digits of a sha256: report.json has them all
ACTIVITIES = ("compute", "data wait", "evaluation", "checkpoint", "other")


def write_report(reports: Sequence[Report], out: Path) -> Path:
    """Write `out`/report.html and report.json, each whole or not at all; returns the page's path."""
    out.mkdir(parents=True, exist_ok=True)
    store = open_store(str(out))
    values = [report.model_dump(mode="json") for report in reports]
    store.write(DATA, json.dumps(values, indent=1).encode())
    store.write(PAGE, page(reports).encode())
    return out / PAGE


def page(reports: Sequence[Report]) -> str:
    """The page's HTML. Everything that comes from a run is escaped."""
    from raytrain.report.charts import charts
    from raytrain.report.draw import COLOURS
    from raytrain.report.pictures import pictures

    rows = table(reports)
    return template("raytrain", "page.html").render(
        title=" and ".join(labels(reports)) if len(reports) < 3 else f"{len(reports)} runs",
        headline=headline(reports),
        columns=[(column, COLUMNS[column]) for column in columns(rows) if column != "plan"],
        rows=rows,
        colours=[run % COLOURS for run in range(len(reports))],
        published=_published(reports),
        charts=charts(reports),
        times=_times(reports),
        runs=[
            {
                "label": label,
                "report": report,
                "facts": _facts(report),
                "confusion": _confusion(report),
                "pictures": [_picture(report, picture) for picture in pictures(report)],
                "derived": _derived(report),
                "given": _given(report),
                "asked": _asked(report),
                "events": _events(report),
            }
            for label, report in zip(labels(reports), reports, strict=True)
        ],
    )


def template(room: str, name: str) -> "Template":
    """A template of the room's `report` folder, which may extend ours (base.html: the one look of all pages)."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=ChoiceLoader([PackageLoader(room, "report"), PackageLoader("raytrain", "report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _published(reports: Sequence[Report]) -> list[str]:
    """Each published row once: what it is and where it is printed."""
    rows = [report.plan.recipe.published for report in reports]
    return list(dict.fromkeys(f"{row.row}: {row.top1:g} % ({row.source})" for row in rows if row))


def _times(reports: Sequence[Report]) -> list[dict[str, Any]]:
    """A stacked bar per run. `share` is of the run's own time, `width` of the longest run's, both in percent."""
    seconds = [_seconds(report) for report in reports]
    longest = max(sum(parts.values()) for parts in seconds) or 1.0
    return [
        {
            "label": label,
            "total": duration(sum(parts.values())),
            "parts": [
                {
                    "name": name,
                    "activity": ACTIVITIES.index(name),
                    "seconds": duration(part),
                    "share": f"{100 * part / sum(parts.values()):.0f}",
                    "width": f"{100 * part / longest:.2f}",
                }
                for name, part in parts.items()
                if part
            ],
        }
        for label, parts in zip(labels(reports), seconds, strict=True)
    ]


def _seconds(report: Report) -> dict[str, float]:
    timing = report.timing
    parts = (timing.compute, timing.data_wait, timing.evaluation, timing.checkpoint, timing.other or 0.0)
    return dict(zip(ACTIVITIES, parts, strict=True))


def _facts(report: Report) -> list[tuple[str, str]]:
    """What is worth knowing beyond the table, name and value."""
    facts = []
    found = report.evaluation
    if found is not None:
        facts += _held_out(report, found)
    if report.skipped_steps:
        facts.append(("steps skipped, not finite", f"{report.skipped_steps}"))
    if report.plan.teacher is not None:
        facts.append(("taught by", report.plan.teacher.checkpoint))
    if report.plan.init is not None:
        facts.append(("started from", report.plan.init.checkpoint))
    return facts


def _held_out(report: Report, found: Evaluation) -> list[tuple[str, str]]:
    images = found.samples
    facts = [
        ("top-1", f"{percent(found.top1, images)} % ± {percent(standard_error(found), images)}"),
        ("top-5", f"{percent(found.top5, images)} %"),
        ("loss", f"{found.loss:.4f}"),
        ("calibration error", f"{percent(found.calibration_error, images)} %"),
    ]
    if report.evaluations and (average := report.evaluations[-1].ema) is not None:
        facts.append(("top-1 of the weights' average", f"{percent(average.top1, images)} %"))
        facts.append(("loss of the weights' average", f"{average.loss:.4f}"))
    if report.evaluations and (train := report.evaluations[-1].train) is not None:
        images = report.plan.data.train_slice
        facts.append((f"top-1 on {images:,} training images", f"{percent(train.top1, images)} %"))
        facts.append((f"loss on {images:,} training images", f"{train.loss:.4f}"))
    if report.best is not None:
        facts.append(("best top-1", f"{percent(report.best.top1, images)} % at step {report.best.step:,}"))
    return facts + [
        (f"coverage at {100 * row.accuracy:g} % accuracy", f"{percent(row.coverage, images)} %")
        for row in found.coverage
    ]


class Cell(Value):
    """A cell of the confusion table: its text and how dark it is, from 0 to 1; `right` on the diagonal."""

    text: str
    shade: float
    right: bool


def _confusion(report: Report) -> dict[str, Any] | None:
    """The classes of the most frequent confusions, against each other."""
    found = report.evaluation
    if found is None or not found.confusions:
        return None
    classes: list[int] = []
    for pair in found.confusions:
        new = [label for label in dict.fromkeys((pair.label, pair.predicted)) if label not in classes]
        if len(classes) + len(new) <= MOST_CLASSES:
            classes += new
    classes.sort()
    counts = {(pair.label, pair.predicted): pair.count for pair in found.confusions}
    most = max(counts.values())
    return {
        "names": [name_of(report, label) for label in classes],
        "rows": [
            (name_of(report, label), [_cell(found, counts, most, label, other) for other in classes])
            for label in classes
        ],
        "rarest": min(counts.values()),
        "kept": len(found.confusions),
    }


def _cell(found: Evaluation, counts: dict[tuple[int, int], int], most: int, label: int, other: int) -> Cell:
    if label == other:
        accuracy = found.per_class[label]
        return Cell(text="" if accuracy is None else f"{100 * accuracy:.0f} %", shade=0, right=True)
    count = counts.get((label, other), 0)
    return Cell(text=str(count) if count else "", shade=count / most, right=False)


def name_of(report: Report, label: int) -> str:
    """A label's WNID, or its number where the data could not be asked."""
    return report.classes.get(label, f"label {label}")


def _picture(report: Report, picture: "Picture") -> dict[str, str]:
    mistake = picture.mistake
    return {
        "source": picture.source,
        "problem": picture.problem,
        "index": str(mistake.index),
        "label": name_of(report, mistake.label),
        "predicted": name_of(report, mistake.predicted),
        "confidence": f"{100 * mistake.confidence:.0f}",
    }


def _derived(report: Report) -> list[tuple[str, str, str]]:
    """The numbers that raytrain worked out: path, value, rule."""
    because = report.plan.because
    return [(path, value, because[path]) for path, value in _resolved(report) if path in because]


def _given(report: Report) -> list[tuple[str, str]]:
    """The rest of the plan: what the data, the start and the machines are."""
    return [(path, value) for path, value in _resolved(report) if path not in report.plan.because]


def _resolved(report: Report) -> list[tuple[str, str]]:
    return _flat(report.plan.model_dump(mode="json", exclude={"recipe", "because"}))


def _asked(report: Report) -> list[tuple[str, str]]:
    """The recipe's fields by the paths that `--set` takes."""
    return _flat(
        report.plan.recipe.model_dump(
            mode="json", exclude={"name", "summary", "source", "made_for", "published"}
        )
    )


def _flat(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    flat: list[tuple[str, str]] = []
    for key, value in tree.items():
        flat += (
            _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, _plain(value))]
        )
    return flat


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return (", " if value and not isinstance(value[0], list | dict) else "; ").join(map(_plain, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.6g}" if isinstance(value, float) else value if len(value) != DIGEST else f"{value[:16]}…"


def _events(report: Report) -> list[tuple[str, str, str]]:
    """When, what, and the rest in words; checkpoints are summed up in one line at the last one's time."""
    told, saved = [], [event for event in report.events if event.event == "checkpoint"]
    for event in report.events:
        fields = ", ".join(f"{key} {_plain(value)}" for key, value in event.fields.items())
        if event.event == "checkpoint":
            if event is not saved[-1]:
                continue
            mean = sum(one.fields["seconds"] for one in saved) / len(saved)
            fields = (
                f"the last of {len(saved)}, at step {event.fields['step']:,}; {mean:.2g} s each on average"
            )
        told.append((f"{event.time:%Y-%m-%d %H:%M:%S}", event.event.replace("_", " "), fields))
    return told
