"""The loop: what `decide` wants is done, and written down as it is done. A kill anywhere loses a trial at most."""

from collections.abc import Callable
from typing import Protocol

from raytrain.errors import UsageError
from tuning.ledger import Ledger
from tuning.method.decide import Finish, Look, Propose, RunChecks, Train, baseline_cost, decide
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
from tuning.method.state import MethodState, replay
from tuning.method.tell import trained_text
from tuning.method.values import Reading, Trial
from tuning.method.world import World

Say = Callable[[str], None]


class Answerer(Protocol):
    """Who answers proposals: a person, `--auto`, or the command line's options."""

    def __call__(self, proposal: Proposal, state: MethodState, world: World) -> Answered:
        """An answer. Raises ResumeLater where nobody is there to give one."""
        ...


def begin(ledger: Ledger[Row], wanted: Started, world: World, *, resume: bool) -> None:
    """Begin a study, or go on with the one that the ledger holds.

    Raises UsageError for a budget below one baseline, for a study of something else, and for one that was not asked
    to go on.
    """
    if not ledger.rows:
        state = replay([wanted])
        least = baseline_cost(state, world)
        if wanted.budget < least:
            raise UsageError(
                f"--budget {wanted.budget:g}: the baseline alone takes {least:.3g} GPU-hours "
                f"({wanted.seeds} trainings); give more, or shorten the rounds with --length"
            )
        ledger.add(wanted)
        return
    held = ledger.rows[0]
    assert isinstance(held, Started)
    _same(held, wanted, str(ledger.file.parent))
    if not resume:
        raise UsageError(
            f"{ledger.file.parent} holds this study already, {len(ledger.rows)} rows: --resume goes on"
        )
    state = replay(ledger.rows)
    if wanted.budget != state.budget or _again(state):
        ledger.add(Funded(budget=wanted.budget))


def _again(state: MethodState) -> bool:
    """Whether it ended with something that can be tried again: a red check, or trainings that failed."""
    red = state.checks is not None and not all(check.green for check in state.checks)
    failed = any(row.reading.state == "failed" for row in state.trained.values())
    return state.finished is not None and state.finished.outcome in ("bug", "input") and (red or failed)


def _same(held: Started, wanted: Started, folder: str) -> None:
    """Raises UsageError with what differs but for the budget, which may grow."""
    here, there = (started.model_dump(exclude={"budget", "kind"}) for started in (wanted, held))
    differing = "; ".join(
        f"{field} {there[field]!r} there, {here[field]!r} asked for"
        for field in here
        if here[field] != there[field]
    )
    if differing:
        raise UsageError(f"{folder} holds a study of something else ({differing}): choose another --out")


def carry_on(ledger: Ledger[Row], world: World, answer: Answerer, say: Say) -> Finished:
    """Do what a study wants until its end. Raises ResumeLater where a proposal waits for a person."""
    while True:
        state = replay(ledger.rows)
        step = decide(state, world)
        match step:
            case RunChecks():
                say(f"{step.state}: checks before anything is spent")
                ledger.add(Checked(checks=world.checks()))
            case Train():
                say(f"{step.state}: {len(step.trials)} trainings ({step.why})")
                _train(ledger, world, step.trials, say)
            case Propose():
                if state.pending is None:
                    ledger.add(step.proposal)
                    state = replay(ledger.rows)
                ledger.add(answer(step.proposal, state, world))
            case Look():
                say("CONFIRM: one look at val")
                ledger.add(Looked(trial=step.trial, rate=world.look(step.trial)))
            case Finish():
                if state.finished is not None:
                    return state.finished
                ledger.add(Finished(outcome=step.outcome, text=step.text, verdict=step.verdict))


def _train(ledger: Ledger[Row], world: World, trials: tuple[Trial, ...], say: Say) -> None:
    def done(trial: Trial, reading: Reading) -> None:
        say(trained_text(trial, reading))
        ledger.add(Trained(trial=trial, reading=reading))

    world.train(trials, done)
