"""The loop: what `decide` wants is done, and written down as it is done. A kill anywhere loses a trial at most."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from raytrain.errors import RunError, UsageError
from tuning.ledger import LEDGER, Ledger
from tuning.method.cost import SPEED
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


def begin(ledger: Ledger[Row], wanted: Started, world: World) -> None:
    """Begin a study, or go on with the one that the ledger holds; with another budget, it is that from now on.

    Raises UsageError for a budget below one baseline, and RunError where the folder holds a study of something else,
    or other files.
    """
    if not ledger.rows:
        _check_empty(ledger.file.parent)
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
    if differing := differences(held, wanted):
        raise RunError(
            f"{ledger.file.parent} holds another study; they differ in\n  " + "\n  ".join(differing) + "\n"
            "Use another --out, or the same options to continue it"
        )
    state = replay(ledger.rows)
    if wanted.budget != state.budget or _again(state):
        ledger.add(Funded(budget=wanted.budget))


def _check_empty(folder: Path) -> None:
    others = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    if others := [name for name in others if name not in (LEDGER, SPEED)]:
        raise RunError(f"{folder} holds other files ({min(others)}, ...); use an empty --out")


def _again(state: MethodState) -> bool:
    """Whether it ended with something that can be tried again: a red check, or trainings that failed."""
    red = state.checks is not None and not all(check.green for check in state.checks)
    failed = any(row.reading.state == "failed" for row in state.trained.values())
    return state.finished is not None and state.finished.outcome in ("bug", "input") and (red or failed)


def differences(held: Started, asked: Started) -> list[str]:
    """In what two studies differ, a line each, but for the budget: that may grow."""
    before, after = (_options(started) for started in (held, asked))
    return [
        f"{name}: {before.get(name, '(none)')} -> {after.get(name, '(none)')}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def _options(started: Started) -> dict[str, str]:
    return {
        **started.given,
        "recipe": started.recipe,
        "--target": started.target.text,
        "--floor": f"{started.floor.source}, {started.floor.low:g} to {started.floor.high:g}",
        "--seeds": str(started.seeds),
        "--length": f"{started.length:g}",
        "--least": f"{started.least:g}",
    }


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
                say(f"{step.state}: {len(step.trials)} training{'s' * (len(step.trials) > 1)} ({step.why})")
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
                ledger.add(Finished.model_validate(step.model_dump(exclude={"state"})))


def _train(ledger: Ledger[Row], world: World, trials: tuple[Trial, ...], say: Say) -> None:
    paid = {row.reading.run for row in replay(ledger.rows).trained.values() if row.reading.run}

    def done(trial: Trial, reading: Reading) -> None:
        if reading.run in paid:  # one change back is the training of before: it was not made again
            reading = reading.model_copy(update={"gpu_hours": 0.0})
        say(trained_text(trial, reading))
        ledger.add(Trained(trial=trial, reading=reading))

    world.train(trials, done)
