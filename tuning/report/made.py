"""What must hold before a change that was made counts as shown: its pairs, its effect, and what lies beyond it."""

from collections.abc import Container, Sequence

from data_shards.shardset import Value
from tuning.method.rows import Finished, Force, Row, Trained
from tuning.method.values import Change, Effect, Kind, nothing_beyond
from tuning.report.condition import Condition
from tuning.report.stations import Turn, turns


class ChangeVerdict(Value):
    """A change that was made, by whom, and what it rests on; `effect` is None where nobody tried it."""

    change: Change
    round: int
    by: str
    forced: bool
    effect: Effect | None
    conditions: tuple[Condition, ...]

    @property
    def refused(self) -> tuple[Condition, ...]:
        """Why it does not count."""
        return tuple(condition for condition in self.conditions if not condition.holds)


def changes_made(rows: Sequence[Row]) -> tuple[ChangeVerdict, ...]:
    """The changes that became incumbents, in order."""
    found = []
    for turn in turns(rows):
        change = _made(turn)
        if change is not None and turn.answered is not None:
            forced = isinstance(turn.answered.answer, Force)
            effect = _effect(turn, change)
            later = _probed_on(rows[turn.row :], change)
            conditions = [_samples(turn, effect), _shown(effect), _beyond(rows, turn, change, later)]
            conditions += [_retuned(later)] if change.kind == "capacity_up" else []
            found.append(
                ChangeVerdict(
                    change=change,
                    round=turn.proposal.round,
                    by=turn.answered.by,
                    forced=forced,
                    effect=effect,
                    conditions=tuple(conditions),
                )
            )
    return tuple(found)


def _made(turn: Turn) -> Change | None:
    if turn.answered is None:
        return None
    answer = turn.answered.answer
    if isinstance(answer, Force):
        return answer.change
    return turn.proposal.verdict.change if answer.kind == "accept" else None


def _effect(turn: Turn, change: Change) -> Effect | None:
    return next((one for one in turn.proposal.verdict.effects if one.change == change), None)


def _samples(turn: Turn, effect: Effect | None) -> Condition:
    n, wanted = effect.n if effect else 0, turn.state.spec.seeds
    return Condition(
        name="samples",
        holds=n >= wanted,
        figure=f"{n} of {wanted}",
        found=f"{n} of {wanted} pairs of trainings",
        remedy="pairs with other seeds",
    )


def _shown(effect: Effect | None) -> Condition:
    name, remedy = "effect", "more pairs, or more held-out images"
    if effect is None:
        return Condition(name=name, holds=False, figure="unknown", found="it was not tried", remedy=remedy)
    return Condition(
        name=name,
        holds=effect.counts,
        figure=f"{100 * effect.mean:+.2f}",
        found=f"{100 * effect.mean:+.2f} points; it counts beyond {100 * effect.least:.2f}",
        remedy=remedy,
    )


def _probed_on(rows: Sequence[Row], change: Change) -> set[Kind]:
    """The kinds of change that were tried on the network with this change."""
    return {
        row.trial.change.kind
        for row in rows
        if isinstance(row, Trained)
        and row.trial.change is not None
        and {**row.trial.settings, **change.settings} == row.trial.settings
    }


def _beyond(rows: Sequence[Row], turn: Turn, change: Change, later: Container[Kind]) -> Condition:
    """Whether one more step of the same kind was tried from there, or there is none: a later verdict says so."""
    tried = change.kind in later
    verdicts = [one.proposal.verdict for one in turns(rows) if one.row > turn.row]
    verdicts += [row.verdict for row in rows if isinstance(row, Finished) and row.verdict is not None]
    ends = any(nothing_beyond(change.kind) in verdict.untested for verdict in verdicts)
    return Condition(
        name="boundary",
        holds=tried or ends,
        figure=f"{'tried' if tried else 'none' if ends else 'not tried'} beyond",
        found="one step more of its kind was not tried from there",
        remedy="go on: --resume with a larger --budget",
    )


def _retuned(later: Container[Kind]) -> Condition:
    """The best learning rate moves with the size of the network."""
    held = "lr_up" in later or "lr_down" in later
    return Condition(
        name="tuned again",
        holds=held,
        figure="lr tried" if held else "not tried",
        found="no other learning rate was tried on the larger network",
        remedy="go on: --resume with a larger --budget",
    )
