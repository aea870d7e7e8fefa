"""All that a study knows, as a pure function of its rows: going on after a kill is replaying them."""

import json
from collections.abc import Sequence

from pydantic import Field

from data_shards.shardset import Value
from tuning.dimension import Settings
from tuning.ledger import Called
from tuning.method.rows import (
    Accept,
    Answered,
    Checked,
    Finished,
    Force,
    Freeze,
    Funded,
    Looked,
    Pin,
    Proposal,
    Reject,
    Row,
    Started,
    Trained,
)
from tuning.method.values import Change, Check, Reading, Trial, Verdict

OUTSIDE = ("half_data", "quarter_data", "more_data", "clean_labels")
"""Kinds of change that are not in the recipe: whoever has the data makes them."""

STOPS = ("bug", "input", "numerics")
"""Causes that come before any question of the model."""


class MethodState(Value):
    """Where a study is.

    settings, length    of the incumbent
    trained             by what a trial is (`identity`), however it came about
    full                whether the rounds are at the recipe's whole length (by now)
    waived              causes of a stop that a person went on in spite of
    rejected            a change's name, or the cause of a verdict without one, to the reason
    pinned              paths that no change may set
    accepted            the changes made so far, in order
    closing             the verdict that was accepted and ends the study
    """

    spec: Started
    budget: float
    settings: Settings
    length: float = 1.0
    checks: tuple[Check, ...] | None = None
    trained: dict[tuple[int, str], Trained] = Field(default_factory=dict)
    full: bool
    frozen: bool = False
    waived: tuple[str, ...] = ()
    rejected: dict[str, str] = Field(default_factory=dict)
    pinned: tuple[str, ...] = ()
    accepted: tuple[Change, ...] = ()
    pending: Proposal | None = None
    closing: Verdict | None = None
    looks: tuple[Looked, ...] = ()
    finished: Finished | None = None

    @property
    def spent(self) -> float:
        """GPU-hours of all trials."""
        return sum(row.reading.gpu_hours for row in self.trained.values())

    @property
    def left(self) -> float:
        """GPU-hours that may still be spent."""
        return self.budget - self.spent

    def trial(self, seed: int, change: Change | None = None) -> Trial:
        """The incumbent at the round's length, or one change to it."""
        length = self.length * (1.0 if self.full else self.spec.length)
        return Trial(settings=self.settings, change=change, seed=seed, length=length)

    def reading(self, trial: Trial) -> Reading | None:
        """What is known of a trial, or of one that is the same training."""
        row = self.trained.get(identity(trial))
        return row.reading if row else None

    def readings(self) -> dict[int, Reading]:
        """Those of the incumbent, by seed."""
        _, what = identity(self.trial(0))
        found = {seed: row.reading for (seed, other), row in self.trained.items() if other == what}
        return dict(sorted(found.items()))

    def unchosen(self, seed: int) -> bool:
        """Whether a seed of the incumbent is no reason why it is the incumbent: it was no probe."""
        row = self.trained.get(identity(self.trial(seed)))
        return row is None or row.trial.change is None


def identity(trial: Trial) -> tuple[int, str]:
    """What makes two trials the same training: the seed, and all the rest."""
    change = trial.change or Change(name="", kind="longer")
    settings = sorted({**trial.settings, **change.settings}.items())
    length = round(trial.length * change.length, 9)
    return trial.seed, json.dumps([settings, length, change.data, change.clean_labels])


def replay(rows: Sequence[Row]) -> MethodState:
    """The state after these rows, the first of which is Started."""
    first, *others = rows
    assert isinstance(first, Started)
    state = MethodState(spec=first, budget=first.budget, settings=first.settings, full=first.length == 1)
    for row in others:
        state = after(state, row)
    return state


def after(state: MethodState, row: Row) -> MethodState:
    """The state after one more row."""
    match row:
        case Checked():
            return _with(state, checks=row.checks)
        case Trained():
            whole = row.trial.change is None and row.trial.length >= state.length
            return _with(state, trained={**state.trained, identity(row.trial): row}, full=state.full or whole)
        case Proposal():
            return _with(state, pending=row)
        case Answered():
            return _answered(state, row)
        case Looked():
            return _with(state, looks=(*state.looks, row))
        case Finished():
            return _with(state, finished=row, pending=None)
        case Funded():
            # what was red or failed is tried again: somebody may have mended it
            green = state.checks is not None and all(check.green for check in state.checks)
            checks = state.checks if green else None
            trained = _without_failed(state)
            return _with(
                state, budget=row.budget, finished=None, closing=None, checks=checks, trained=trained
            )
        case Called():
            return state
        case Started():
            raise AssertionError("a study starts once")


def _answered(state: MethodState, row: Answered) -> MethodState:
    proposal, answer = state.pending, row.answer
    state = _with(state, pending=None)
    match answer:
        case Accept():
            assert proposal is not None
            verdict = proposal.verdict
            return _changed(state, verdict.change) if verdict.change else _with(state, closing=verdict)
        case Reject():
            assert proposal is not None
            verdict = proposal.verdict
            if verdict.cause in STOPS:
                sound = _without_failed(state)
                again = len(sound) < len(state.trained)  # nothing is known of those: they are trained again
                return _with(
                    state, trained=sound, waived=state.waived if again else (*state.waived, verdict.cause)
                )
            name = verdict.change.name if verdict.change else verdict.cause
            return _with(state, rejected={**state.rejected, name: answer.reason})
        case Force():
            return _changed(state, answer.change)
        case Pin():
            settings = {**state.settings, **answer.settings}
            return _with(state, settings=settings, pinned=(*state.pinned, answer.path))
        case Freeze():
            return _with(state, frozen=True)


def _without_failed(state: MethodState) -> dict[tuple[int, str], Trained]:
    return {key: row for key, row in state.trained.items() if row.reading.state != "failed"}


def _changed(state: MethodState, change: Change) -> MethodState:
    return _with(
        state,
        settings={**state.settings, **change.settings},
        length=round(state.length * change.length, 9),
        accepted=(*state.accepted, change),
    )


def _with(state: MethodState, **fields: object) -> MethodState:
    return MethodState.model_validate({**dict(state), **fields})
