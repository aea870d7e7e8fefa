"""Who decides: the methodology for one round, and the gap rule that it has to beat."""

from collections.abc import Sequence
from statistics import fmean

from scenarios.world import MadeWorld, Scenario, train_together
from tuning.method.decide import Finish, Look, Propose, RunChecks, Step, Train, decide
from tuning.method.gaps import error, train_error
from tuning.method.rows import Checked, Looked, Outcome, Row, Started, Trained
from tuning.method.state import MethodState, replay
from tuning.method.target import Target
from tuning.method.values import Reading, Trial, Verdict
from tuning.method.world import World

BUDGET = 1e6  # no scenario is decided by money
GAP = 0.05


def first_round(scenario: Scenario, worlds: Sequence[World]) -> list[tuple[Verdict | Finish, MethodState]]:
    """What `raytrain improve` would first propose in each world, and all that it knew then.

    The worlds are decided one by one; only what they want trained at the same stage is trained together.
    """
    target = Target(text=f"error<={scenario.target}", error=scenario.target, source="made up")
    begun = Started(recipe=scenario.name, settings=scenario.settings, target=target, budget=BUDGET)
    ledgers: list[list[Row]] = [[begun] for _ in worlds]
    while True:
        states = [replay(rows) for rows in ledgers]
        steps = [decide(state, world) for state, world in zip(states, worlds, strict=True)]
        if all(isinstance(step, Propose | Finish) for step in steps):
            said = [step.proposal.verdict if isinstance(step, Propose) else step for step in steps]
            return [pair for pair in zip(said, states, strict=True) if isinstance(pair[0], Verdict | Finish)]
        wanted = [
            (world, step.trials) for world, step in zip(worlds, steps, strict=True) if isinstance(step, Train)
        ]
        train_together(
            [(world, one) for world, trials in wanted if isinstance(world, MadeWorld) for one in trials]
        )
        for rows, step, world in zip(ledgers, steps, worlds, strict=True):
            rows += _done(step, world)


def _done(step: Step, world: World) -> list[Row]:
    rows: list[Row] = []
    match step:
        case RunChecks():
            rows.append(Checked(checks=world.checks()))
        case Train():
            world.train(
                step.trials, lambda trial, reading: rows.append(Trained(trial=trial, reading=reading))
            )
        case Look():
            rows.append(Looked(trial=step.trial, rate=world.look(step.trial)))
    return rows


def outcome(said: Verdict | Finish) -> Outcome:
    """What is wrong, in a word."""
    return said.cause if isinstance(said, Verdict) else said.outcome


def gap_rule(scenario: Scenario, world: World) -> Outcome:
    """Met, or "train and held-out differ by more than 5 points: regularize; else a larger model"."""
    readings: list[Reading] = []
    trials = [Trial(settings=scenario.settings, change=None, seed=seed) for seed in range(3)]
    world.train(trials, lambda _, reading: readings.append(reading))
    minival = fmean(map(error, readings))
    if minival <= scenario.target:
        return "met"
    return "regularization" if minival - fmean(map(train_error, readings)) > GAP else "capacity"
