"""A methodology's ledger as a diary: what was asked, trained, proposed and answered, and when."""

from collections.abc import Sequence
from datetime import datetime

from tuning.ledger import Called
from tuning.method.rows import (
    Answered,
    Checked,
    Finished,
    Funded,
    Looked,
    Proposal,
    Row,
    Started,
    Trained,
)
from tuning.method.tell import MEANING
from tuning.report.book import Table
from tuning.report.method_rounds import answer_text
from tuning.report.words import at, hours


def log(rows: Sequence[Row], times: Sequence[datetime]) -> Table:
    """A line per row of the ledger; trainings that ended one after the other are one, at the last one's time."""
    lines: list[tuple[str, str, str]] = []
    ended: list[Trained] = []
    for row, time, following in zip(rows, times, [*rows[1:], None], strict=True):
        if isinstance(row, Trained):
            ended.append(row)
            if isinstance(following, Trained):
                continue
            what, found = "trained", _trained(ended)
            ended = []
        else:
            what, found = _line(row)
        lines.append((at(time), what, found))
    return Table(head=("when", "what", "found"), rows=tuple(lines))


def _line(row: Row) -> tuple[str, str]:
    match row:
        case Started():
            return "began", f"{row.recipe} to {row.target.text}, budget {hours(row.budget)} GPU-hours"
        case Called():
            return "called", f"on {row.workers} worker{'s' if row.workers > 1 else ''} a training"
        case Funded():
            return "went on", f"budget {hours(row.budget)} GPU-hours"
        case Checked():
            red = [check.name for check in row.checks if not check.green]
            return "checked", f"red: {', '.join(red)}" if red else f"all green, {len(row.checks)} in number"
        case Proposal():
            return f"round {row.round}", f"{row.verdict.cause}: {MEANING[row.verdict.cause]}"
        case Answered():
            return "answered", answer_text(row)
        case Looked():
            return "looked at val", f"{row.rate.share:.2%} of {row.rate.of:,} images"
        case Finished():
            return "ended", f"{row.outcome}: {MEANING[row.outcome]}"
        case Trained():
            raise AssertionError("told together")


def _trained(ended: Sequence[Trained]) -> str:
    by_name: dict[str, list[str]] = {}
    for row in ended:
        name = row.trial.change.name if row.trial.change else "incumbent"
        rate = row.reading.minival
        by_name.setdefault(name, []).append(f"{rate.share:.2%}" if rate else row.reading.state)
    return "; ".join(f"{name} {', '.join(errors)}" for name, errors in by_name.items())
