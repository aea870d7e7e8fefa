"""The preflight on a real recipe and its data: minutes, before anything else is spent. What is red stops a study.

What the numbers mean is judged in `checks.py`, as for made-up worlds.
"""

from collections.abc import Callable

from cluster.fleet import Fleet
from data_shards.contents import classes_by_shard, shared_images
from data_shards.mix import Data, Mix, load_data
from data_shards.training import Part
from raytrain.plan import RunPlan
from tuning.method import checks, lessons
from tuning.method.values import Check

ONE_BATCH, ONE_BATCH_STEPS = 32, 600  # smoke networks need 4 to 27, one of 6,000 parameters 257
STEPS, SECONDS = 150, 120.0  # of the short training
LOOKED_AT = 512  # images of each kind
MOST_SHARDS = 200  # looked into for their classes
READ = 4  # batches


def preflight(
    plan: RunPlan, data: str, fleet: Fleet, *, looked_at_last: str, say: Callable[[str], None]
) -> tuple[Check, ...]:
    """All checks, each said as it is known. `plan` is that of a trial; `looked_at_last` the split of the last look.

    Without the fleet's GPUs here, what the network takes of images is by the fleet's measured speed, if it has one.
    """
    there = load_data(data)
    found: list[Check] = []

    def note(check: Check) -> None:
        say(f"{'ok ' if check.green else 'RED'} {check.name}: {check.found}")
        found.append(check)

    part = _trained_on(there, data, plan)
    note(checks.class_mix(classes_by_shard(part.url, part.chosen, MOST_SHARDS)))
    note(checks.leak(*_leaked(part, {plan.recipe.eval_split, looked_at_last})))
    count, first = (min(wanted, plan.data.train_samples) for wanted in (ONE_BATCH, LOOKED_AT // 4))
    note(checks.initial_loss(lessons.first_loss(plan, data, first), plan.data.classes))
    real, blanked = lessons.by_heart(plan, data, count, ONE_BATCH_STEPS)
    note(checks.one_batch(real))
    note(checks.blanked_images(real, blanked))
    short = lessons.lesson(plan, data, steps=STEPS, seconds=SECONDS, count=LOOKED_AT)
    chance = 1 - max(part.chosen.class_counts) / sum(part.chosen.class_counts)
    note(checks.held_out_labels(short.train, short.held_out, chance, short.steps))
    note(
        checks.input_speed(
            lessons.reading_speed(plan, data, READ), images_per_second(plan, fleet, short.trained)
        )
    )
    return tuple(found)


def _trained_on(there: Data, data: str, plan: RunPlan) -> Part:
    """Of a mix, its first set: that is the one with held-out images."""
    if isinstance(there, Mix):
        return there.first
    recipe = plan.recipe
    return Part(
        name=there.name, url=data, shardset=there, split=recipe.train_split, fraction=recipe.train_fraction
    )


def _leaked(part: Part, held: set[str]) -> tuple[int, int]:
    """How many held-out images are trained on, of how many."""
    splits = [part.shardset.split(name) for name in sorted(held)]
    shared = sum(shared_images(part.url, split, [part.chosen]) for split in splits)
    return shared, sum(split.samples for split in splits)


def images_per_second(plan: RunPlan, fleet: Fleet, here: float) -> float:
    """What a worker's network takes: on its GPU where the fleet says how fast that is, else as measured here."""
    if fleet.gpu and fleet.sustained_tflops is not None:
        return fleet.sustained_tflops * 1e12 / (6e9 * plan.estimates.forward_gmacs)
    return here
