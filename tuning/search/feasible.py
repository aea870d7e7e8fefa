"""Whether a point fits the machines and the hours: asked of the plan, before a trial is spent on it."""

from pydantic import Field

from cluster.fleet import Fleet
from data_shards.mix import Data
from data_shards.shardset import Value
from raytrain.errors import UsageError
from raytrain.plan import RunPlan, resolve
from raytrain.plan.memory import SHARE, smallest_memory
from raytrain.plan.stages import allowed_stages
from raytrain.recipe import Recipe
from raytrain.settings import change
from tuning.dimension import Settings


class Asked(Value):
    """What the plan says to a point.

    plan         None where it refuses
    violations   by how much limits are exceeded, as a share of them: `memory` (of a worker, at the smallest
                 micro-batch), `hours` (where the fleet's speed is known). Below 0 there is room. `plan` is 1 where the
                 point is refused for another reason
    problem      the reason, empty where there is none
    """

    plan: RunPlan | None
    violations: dict[str, float] = Field(default_factory=dict)
    problem: str = ""

    @property
    def fits(self) -> bool:
        """Whether a trial may be spent on it."""
        return not self.problem


def ask_plan(
    base: RunPlan, fleet: Fleet, data: Data, settings: Settings, *, most_hours: float | None = None
) -> Asked:
    """Resolve the plan of `base` with these settings. A refusal is an answer, with the plan's own reason."""
    try:
        recipe = change(base.recipe, settings)
        memory = {"memory": _memory(recipe, fleet, base) - 1}
    except UsageError as error:
        return Asked(plan=None, violations={"plan": 1.0}, problem=str(error))
    try:
        plan = resolved(recipe, base, fleet, data)
    except UsageError as error:
        violations = memory if memory["memory"] > 0 else {**memory, "plan": 1.0}
        return Asked(plan=None, violations=violations, problem=str(error))
    hours = plan.estimates.hours
    if hours is None or most_hours is None:
        return Asked(plan=plan, violations=memory)
    return Asked(
        plan=plan,
        violations={**memory, "hours": hours / most_hours - 1},
        problem=f"takes {hours:.3g} hours, {most_hours:g} are allowed" if hours > most_hours else "",
    )


def resolved(recipe: Recipe, base: RunPlan, fleet: Fleet, data: Data) -> RunPlan:
    """The recipe's plan, started and placed as `base` is. Raises UsageError where it does not fit."""
    return resolve(
        recipe,
        fleet,
        data,
        init=base.init,
        teacher=base.teacher,
        engine=base.placement.engine,
    )


def _memory(recipe: Recipe, fleet: Fleet, base: RunPlan) -> float:
    """The share of a worker's memory that the smallest micro-batch needs."""
    placement = base.placement.model_copy(update={"workers": fleet.workers})
    stages = allowed_stages(placement.engine)
    held = smallest_memory(recipe, placement, stages, base.data.classes, base.teacher)
    return held / (fleet.memory_gib * 2**30 * SHARE)
