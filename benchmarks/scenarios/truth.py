"""What each change really does, by brute force: other seeds than any verdict saw, and images that none saw."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scenarios import noise
from scenarios.noise import NoisyWorld
from scenarios.world import MadeWorld, Scenario, offered, train_together
from tuning.method.effects import CAUSES
from tuning.method.probes import MORE_DATA
from tuning.method.rows import LEAST, Outcome
from tuning.method.values import Change, Trial

SEEDS = (100, 101)
NOTHING = "nothing"


@dataclass(frozen=True)
class Effect:
    """A change's mean effect on the error over draws and seeds, and its standard error."""

    effect: float
    standard_error: float


def effects(scenario: Scenario, worlds: Sequence[MadeWorld | NoisyWorld]) -> dict[str, Effect]:
    """By the cause that each change answers to; twice the images were drawn for this, and are held back elsewhere."""
    changes = [
        *offered(scenario.settings, relabel=scenario.relabel),
        MORE_DATA.model_copy(update={"length": 0.5}),
    ]
    arms = [change for change in changes if change.kind in CAUSES]
    if any(isinstance(world, NoisyWorld) for world in worlds):
        planted = noise.EFFECTS | {"more_data": noise.MORE_DATA}
        return {CAUSES[one.kind]: Effect(planted.get(one.kind, 0.0), 0.0) for one in arms}
    made = [world for world in worlds if isinstance(world, MadeWorld)]
    train_together(
        [(world, _trial(scenario, arm, seed)) for world in made for arm in (None, *arms) for seed in SEEDS]
    )
    return {CAUSES[arm.kind]: _effect(scenario, made, arm) for arm in arms}


def _trial(scenario: Scenario, change: Change | None, seed: int) -> Trial:
    return Trial(settings=scenario.settings, change=change, seed=seed)


def _effect(scenario: Scenario, worlds: Sequence[MadeWorld], arm: Change) -> Effect:
    differences = [
        world.truth(_trial(scenario, arm, seed)) - world.truth(_trial(scenario, None, seed))
        for world in worlds
        for seed in SEEDS
    ]
    error = stdev(differences) / len(differences) ** 0.5
    return Effect(fmean(differences), error)


def best(of: dict[str, Effect]) -> str:
    """The cause whose change lowers the error most; `nothing` where none matters."""
    cause = min(of, key=lambda one: of[one].effect)
    return cause if of[cause].effect < -LEAST else NOTHING


def regret(of: dict[str, Effect], said: Outcome) -> float:
    """By how much the error stays above what the best change makes of it. Who changes nothing has an effect of 0."""
    chosen = of[said].effect if said in of else 0.0
    return chosen - min(0.0, *(one.effect for one in of.values()))
