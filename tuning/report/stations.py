"""The stations of a methodology study: each incumbent with all that was known of it, and each proposal's answer."""

from collections.abc import Mapping, Sequence

from data_shards.shardset import Value
from tuning.method.gaps import Gaps, gaps
from tuning.method.rows import Answered, Proposal, Row
from tuning.method.state import MethodState, after, replay
from tuning.method.values import Reading


class Station(Value):
    """An incumbent: by which change it came about ("start": the recipe as given), and the state when it was last it."""

    name: str
    state: MethodState

    @property
    def readings(self) -> Mapping[int, Reading]:
        """Its trainings, by seed."""
        return self.state.readings()

    @property
    def gaps(self) -> Gaps:
        """Between its errors. Asked of one that was trained."""
        spec = self.state.spec
        return gaps(self.readings, spec.floor, spec.target.error, self.state.looks)


class Turn(Value):
    """A proposal: the row's number, the state that it was made in, and what was answered; None while it waits."""

    row: int
    state: MethodState
    proposal: Proposal
    answered: Answered | None


def stations(rows: Sequence[Row]) -> tuple[Station, ...]:
    """The incumbents that were trained, in order; the last is the present one."""
    state = replay(rows[:1])
    found = [Station(name="start", state=state)]
    for row in rows[1:]:
        before, state = state, after(state, row)
        if len(state.accepted) > len(before.accepted):
            found.append(Station(name=state.accepted[-1].name, state=state))
        elif (state.settings, state.length, state.full) != (before.settings, before.length, before.full):
            found.append(Station(name=_moved(before, state), state=state))
        else:
            found[-1] = found[-1].model_copy(update={"state": state})
    return tuple(station for station in found if station.readings)


def _moved(before: MethodState, now: MethodState) -> str:
    return "full length" if now.full != before.full else f"{now.pinned[-1]} pinned"


def turns(rows: Sequence[Row]) -> tuple[Turn, ...]:
    """The proposals, in order."""
    state = replay(rows[:1])
    found: list[Turn] = []
    for number, row in enumerate(rows[1:], start=1):
        if isinstance(row, Proposal):
            found.append(Turn(row=number, state=state, proposal=row, answered=None))
        elif isinstance(row, Answered) and found and found[-1].answered is None:
            found[-1] = found[-1].model_copy(update={"answered": row})
        state = after(state, row)
    return tuple(found)
