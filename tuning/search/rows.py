"""The rows of a sweep's ledger, and the state that they add up to.

A sweep goes on in rounds. A round's row says which points are new and which rungs are to be run; it is written before
any of them starts, from what all earlier rounds found, so what is decided never depends on who came first. A kill
loses the rungs that were running: their row is missing, and they are run again from where their run is.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, TypeAdapter

from data_shards.shardset import Value
from tuning.ledger import Called
from tuning.search.sampler import Strategy
from tuning.search.told import Objective
from tuning.search.values import RungJob, RungResult
from tuning.space import Point, Space

RETRIES = 2  # of a rung whose worker died
TRIALS = "trials"


class Study(Value):
    """What a sweep is: the same options give the same study, and its trials.

    base         what makes the unchanged run this run: its plan's identity, or a recording's digest
    batch        how many rungs are decided at once; not how many run at once
    objectives   what is sought, error first; further ones are names of RungResult's values
    rungs        samples seen at the end of each rung; the last is the whole training
    """

    kind: Literal["study"] = "study"
    base: dict[str, Any]
    space: Space
    strategy: Strategy
    seed: int
    batch: PositiveInt
    objectives: tuple[Objective, ...]
    rungs: tuple[PositiveInt, ...]


class Proposal(Value):
    """A trial's place in the space; and why it does not fit the machines, where it does not, and by how much."""

    trial: int
    point: Point
    infeasible: str = ""
    violations: dict[str, float] = Field(default_factory=dict)


class Place(Value):
    """A rung of a trial."""

    trial: int
    rung: int


class Round(Value):
    """What is done next: new trials, and the rungs to run, theirs included."""

    kind: Literal["round"] = "round"
    new: tuple[Proposal, ...]
    rungs: tuple[Place, ...]


class RungEnded(Value):
    """A rung that ended, at its first attempt or a later one."""

    kind: Literal["rung"] = "rung"
    trial: int
    rung: int
    attempt: int
    result: RungResult

    @property
    def settled(self) -> bool:
        """Whether it will not be tried again."""
        return self.result.state != "failed" or self.attempt >= RETRIES


class RungGate(Value):
    """Whether the errors after a rung say which trial wins: rank correlation with the errors at the end, and how often
    the winner of a bootstrap was among those that halving keeps there.
    """

    rung: int
    correlation: float
    kept: float
    open: bool


class Gate(Value):
    """Where halving may decide, measured once on `trials` that were trained to their end."""

    kind: Literal["gate"] = "gate"
    trials: tuple[int, ...]
    rungs: tuple[RungGate, ...]


class Ended(Value):
    """As many trials as were asked for have come to their end."""

    kind: Literal["ended"] = "ended"
    trials: int
    best: int | None


Row = Annotated[Study | Called | Round | RungEnded | Gate | Ended, Field(discriminator="kind")]
ROWS: TypeAdapter[Any] = TypeAdapter(Row)


class TrialState(Value):
    """A trial's rungs that are settled, in order."""

    asked: Proposal
    ended: tuple[RungEnded, ...] = ()

    @property
    def number(self) -> int:
        """The trial's number."""
        return self.asked.trial

    @property
    def alive(self) -> bool:
        """Whether it can go on, or was trained to its end."""
        return not self.asked.infeasible and all(row.result.state == "done" for row in self.ended)

    @property
    def rung(self) -> int:
        """The last rung that it ended; -1 before any."""
        return self.ended[-1].rung if self.ended else -1

    def at(self, rung: int) -> RungResult | None:
        """What came of a rung; None where it was not run, or passed over."""
        return next((row.result for row in self.ended if row.rung == rung), None)


class SweepState(Value):
    """All that a sweep knows. `open` are the rungs of the running round that have yet to end, `failures` how often each
    of them was tried in vain.
    """

    study: Study
    trials: tuple[TrialState, ...] = ()
    open: tuple[Place, ...] = ()
    failures: dict[tuple[int, int], int] = Field(default_factory=dict)
    gate: Gate | None = None
    ended: Ended | None = None

    @property
    def last(self) -> int:
        """The rung at which a trial is trained to its end."""
        return len(self.study.rungs) - 1

    @property
    def finished(self) -> tuple[TrialState, ...]:
        """The trials that were trained to their end, in trial order."""
        return tuple(trial for trial in self.trials if trial.alive and trial.rung == self.last)


def replay(rows: Iterable[Any]) -> SweepState:
    """The state that the rows add up to; the first is the study."""
    first, *rest = rows
    asked: dict[int, Proposal] = {}
    ended: dict[int, list[RungEnded]] = {}
    places: dict[tuple[int, int], Place] = {}
    failures: dict[tuple[int, int], int] = {}
    gate: Gate | None = None
    end: Ended | None = None
    for row in rest:
        match row:
            case Round():
                asked |= {proposal.trial: proposal for proposal in row.new}
                places = {(place.trial, place.rung): place for place in row.rungs}
                failures, end = {}, None
            case RungEnded(settled=True):
                ended.setdefault(row.trial, []).append(row)
                del places[row.trial, row.rung]
            case RungEnded():
                failures[row.trial, row.rung] = row.attempt + 1
            case Gate():
                gate = row
            case Ended():
                end = row
    return SweepState(
        study=first,
        trials=tuple(
            TrialState(asked=asked[number], ended=tuple(ended.get(number, ()))) for number in sorted(asked)
        ),
        open=tuple(places.values()),
        failures={at: count for at, count in failures.items() if at in places},
        gate=gate,
        ended=end,
    )


def next_jobs(state: SweepState) -> tuple[RungJob, ...]:
    """What is to be run now: the rungs of this round that have not ended."""
    trials, rungs = {trial.number: trial for trial in state.trials}, state.study.rungs
    return tuple(
        RungJob(
            trial=place.trial,
            rung=place.rung,
            changes=state.study.space.settings(trials[place.trial].asked.point),
            begun=rungs[trials[place.trial].rung] if trials[place.trial].ended else 0,
            samples=rungs[place.rung],
            folder=f"{TRIALS}/{place.trial:03d}",
            attempt=state.failures.get((place.trial, place.rung), 0),
        )
        for place in state.open
    )
