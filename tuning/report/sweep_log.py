"""A sweep's ledger as a diary: what was asked, decided and found, and when."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tuning.ledger import Called
from tuning.report.book import Table
from tuning.report.words import at, listed
from tuning.search.rows import Ended, Gate, Round, RungEnded, Study


def log(rows: Sequence[Any], times: Sequence[datetime]) -> Table:
    """A line per row of the ledger; the rungs of a round that ended are one, at the last one's time."""
    lines: list[tuple[str, str, str]] = []
    ended: list[RungEnded] = []
    rounds = 0
    for row, time, following in zip(rows, times, [*rows[1:], None], strict=True):
        match row:
            case Study():
                rungs = listed([f"{rung:,}" for rung in row.rungs])
                asked = f"{row.strategy}, seed {row.seed}, batches of {row.batch}, rungs at {rungs} samples"
                lines.append((at(time), "began", asked))
            case Called():
                lines.append(
                    (at(time), "called", f"on {row.workers} worker{'s' if row.workers > 1 else ''} a trial")
                )
            case Round():
                rounds += 1
                lines.append((at(time), f"round {rounds}", _decided(row)))
            case RungEnded():
                ended.append(row)
                if not isinstance(following, RungEnded):
                    lines.append((at(time), "trained", _found(ended)))
                    ended = []
            case Gate():
                opened = sum(rung.open for rung in row.rungs)
                lines.append((at(time), "gate", f"open at {opened} of {len(row.rungs)} rungs"))
            case Ended():
                lines.append(
                    (
                        at(time),
                        "ended",
                        f"{row.trials} trials, best {row.best if row.best is not None else 'none'}",
                    )
                )
    return Table(head=("when", "what", "found"), rows=tuple(lines))


def _decided(row: Round) -> str:
    new = [str(proposal.trial) for proposal in row.new]
    unfit = [str(proposal.trial) for proposal in row.new if proposal.infeasible]
    on = [str(place.trial) for place in row.rungs if str(place.trial) not in new]
    said = [f"new: {listed(new)}"] if new else []
    said += [f"does not fit: {listed(unfit)}"] if unfit else []
    said += [f"goes on: {listed(on)}"] if on else []
    return "; ".join(said)


def _found(ended: Sequence[RungEnded]) -> str:
    return "; ".join(
        f"{row.trial} "
        + (f"{100 * row.result.error:.1f}%" if row.result.error is not None else row.result.state)
        for row in ended
    )
