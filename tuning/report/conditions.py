"""What must hold before a sweep's verdict on a parameter counts. One that does not refuses the verdict, and says why.

google-research/tuning_playbook asks for them in words ("Identifying bad search space boundaries", "Not sampling enough
points in the search space", isolation plots from quasi-random points alone); Ax (global_stopping, healthchecks) has a
test that a parameter has an effect at all. The figures marked [choice] are ours.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.random import Generator, Philox

from data_shards.shardset import Value
from tuning.dimension import Range, Scalar
from tuning.report.condition import Condition
from tuning.report.spots import Spot, best_of, grouped, share_of_way, spots
from tuning.search.rows import SweepState
from tuning.search.state import told
from tuning.space import Param

EDGE = 0.1  # of the way from an end [choice]
PER_PAIR = 12  # points for each two parameters [choice]
REPEATS = 3  # trainings of one value where nothing else varies [choice]
LOST = 0.5  # share of trials without an error (tuning_playbook: infeasible points)
UNLIKELY = 0.05  # how often luck alone may look like the effect
STABLE = 0.9  # of bootstraps
DRAWS = 1000
SIZE = (
    *("global_batch", "model.embed_dim", "model.depths", "model.depth", "model.width", "model.widths"),
    *("model.widen", "model.groups", "model.width_per_group", "model.group_width", "model.mlp_ratio"),
)
"""What makes network or batch larger, so that the best learning rate moves (tuning_playbook: what interacts)."""

REGULARIZERS = ("optimizer.weight_decay", "model.drop_path")
"""A larger network wants more (docs/spaces.md), so one of them has to be free."""


class ParamVerdict(Value):
    """A sweep's verdict on one parameter: its best value, which counts where every condition holds."""

    param: str
    role: str
    best: Scalar | None
    trial: int | None
    conditions: tuple[Condition, ...]

    @property
    def refused(self) -> tuple[Condition, ...]:
        """Why it does not count."""
        return tuple(condition for condition in self.conditions if not condition.holds)


def verdicts(state: SweepState) -> tuple[ParamVerdict, ...]:
    """A verdict on every parameter that is searched, in the space's order."""
    params = state.study.space.params
    edges = {param.name: _boundary(param, best_of(spots(state, param))) for param in params}
    nuisance = [param.name for param in params if param.role == "nuisance"]
    edge = [name for name in nuisance for condition in edges[name] if not condition.holds]
    beside = Condition(
        name="nuisance",
        holds=not edge,
        figure=f"{len(nuisance) - len(edge)} of {len(nuisance)} inside",
        found=f"{', '.join(edge)} may be better beyond the ends, for some values more than for others",
        remedy="widen it there",
    )
    return tuple(_verdict(state, param, edges[param.name], [beside] if nuisance else []) for param in params)


def _verdict(state: SweepState, param: Param, edge: list[Condition], beside: list[Condition]) -> ParamVerdict:
    found = spots(state, param)
    best = best_of(found)
    conditions = [_feasible(state), *edge]
    if param.role == "scientific":
        conditions += [*beside, _samples(state, param, found), *_retuned(state, param)]
        conditions += [_effect(state, param, found), _stable(state, param, found)]
    return ParamVerdict(
        param=param.name,
        role=param.role,
        best=best.value if best else None,
        trial=best.trial if best else None,
        conditions=tuple(conditions),
    )


def _feasible(state: SweepState) -> Condition:
    rows = told(state)
    lost = sum(row.state in ("diverged", "infeasible", "failed") for row in rows)
    return Condition(
        name="feasible",
        holds=lost <= LOST * len(rows),
        figure=f"{len(rows) - lost} of {len(rows)}",
        found=f"{lost} of {len(rows)} trials came to no error (limit {LOST:.0%})",
        remedy="narrow the space to where trainings hold",
    )


def _boundary(param: Param, best: Spot | None) -> list[Condition]:
    """Nothing lies below a range that begins at 0, and a choice has no ends."""
    if best is None:
        none = "no trial was trained to its end"
        return [Condition(name="boundary", holds=False, figure="no best", found=none, remedy="go on")]
    share = share_of_way(param.dimension, best.value)
    if share is None:
        return []
    ranged = isinstance(param.dimension, Range)
    edge = EDGE if ranged else 0.0
    low = share <= edge and not (ranged and _begins_at_none(param))
    high = share >= 1 - edge
    side = "lower" if low else "upper"
    at = f"at {share:.0%} of the way" if ranged else f"at the {side} end" if low or high else "inside"
    within = f" (within {EDGE:.0%} of an end)" if ranged and (low or high) else ""
    return [
        Condition(
            name="boundary",
            holds=not (low or high),
            figure=f"at {share:.0%}",
            found=f"the best lies {at}{within}",
            remedy=f"what lies beyond the {side} end was not tried: widen it there",
        )
    ]


def _begins_at_none(param: Param) -> bool:
    return isinstance(param.dimension, Range) and not param.dimension.log and param.dimension.low == 0


def needed(state: SweepState, param: Param) -> int:
    """How many evenly drawn trials a verdict wants."""
    beside = len(state.study.space.params) - 1
    values = param.dimension.values
    if values is None:
        return PER_PAIR * math.ceil((beside + 1) / 2)
    return len(values) * (PER_PAIR * math.ceil(beside / 2) if beside else REPEATS)


def _samples(state: SweepState, param: Param, found: Sequence[Spot]) -> Condition:
    wanted, values = needed(state, param), param.dimension.values
    spread = sum(spot.drawn == "evenly" and spot.ended != "lost" for spot in found)
    least = min((len(errors) for errors in grouped(param.dimension, found)), default=0)
    holds, figure = spread >= wanted, f"{spread} of {wanted}"
    what = f"{spread} of {wanted} trials spread evenly over the space"
    if values is not None:
        groups = len(grouped(param.dimension, found))
        least = least if groups == len(values) else 0
        holds, figure = least >= wanted // len(values), f"{least} of {wanted // len(values)}"
        what = f"{least} of {wanted // len(values)} such trials at the least tried of {len(values)} values"
    chosen = sum(spot.drawn == "chosen" for spot in found)
    told_apart = f"; {chosen} that TPE chose do not count" if chosen else ""
    return Condition(
        name="samples",
        holds=holds,
        figure=figure,
        found=what + told_apart,
        remedy=_more(state, param),
    )


def _more(state: SweepState, param: Param) -> str:
    if param.dimension.values is not None and len(state.study.space.params) == 1:
        return "raytrain improve, which has seeds: a sweep trains each value once"
    return "more --trials, with --strategy sobol"


def _retuned(state: SweepState, param: Param) -> list[Condition]:
    """Asked of sizes alone."""
    if not set(param.paths) & set(SIZE):
        return []
    searched = {path for other in state.study.space.params for path in other.paths}
    missing = [] if "optimizer.lr" in searched else ["the learning rate"]
    missing += [] if searched & set(REGULARIZERS) else ["all regularization"]
    return [
        Condition(
            name="tuned again",
            holds=not missing,
            figure="no" if missing else "yes",
            found=f"{' and '.join(missing)} stayed fixed" if missing else "both were searched beside it",
            remedy="search it beside, as nuisance: the best moves with the size",
        )
    ]


def _effect(state: SweepState, param: Param, found: Sequence[Spot]) -> Condition:
    """A permutation test of the ranks' variance between groups against that within them."""
    groups = grouped(param.dimension, found)
    name, remedy = "effect", f"leave it as it is, or {_more(state, param)}"
    if len(groups) < 2 or sum(map(len, groups)) == len(groups):
        nothing = "no group has two trials to tell luck by"
        return Condition(name=name, holds=False, figure="unknown", found=nothing, remedy=remedy)
    luck = by_luck(groups, Generator(Philox(key=[state.study.seed, _place(state, param)])))
    return Condition(
        name=name,
        holds=luck < UNLIKELY,
        figure=f"p {luck:.2f}",
        found=f"luck alone makes such a difference in {luck:.0%} of shuffles (limit {UNLIKELY:.0%})",
        remedy=remedy,
    )


def _stable(state: SweepState, param: Param, found: Sequence[Spot]) -> Condition:
    groups = grouped(param.dimension, found)
    kept = winner_again(groups, Generator(Philox(key=[state.study.seed, 1000 + _place(state, param)])))
    what = "third" if isinstance(param.dimension, Range) else "value"
    return Condition(
        name="stable",
        holds=kept >= STABLE,
        figure=f"{kept:.0%}",
        found=f"the same {what} wins in {kept:.0%} of bootstraps (needs {STABLE:.0%})",
        remedy=_more(state, param),
    )


def by_luck(groups: Sequence[Sequence[float]], rng: Generator) -> float:
    """How often shuffled ranks differ between the groups as much as these do; the ranks themselves count as one."""
    ranks = np.array([rank for members in groups for rank in members])
    sizes = np.array([len(members) for members in groups])
    shuffled = np.stack([ranks, *(rng.permutation(ranks) for _ in range(DRAWS))])
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    sums = np.add.reduceat(shuffled - ranks.mean(), starts, axis=1)
    between = (sums**2 / sizes).sum(axis=1)
    return float((between >= between[0] - 1e-12).mean())


def winner_again(groups: Sequence[Sequence[float]], rng: Generator) -> float:
    """How often the group with the best trial has it again, when each group gives as many draws of its trials."""
    if len(groups) < 2:
        return 0.0
    each = min(map(len, groups))
    lows = np.stack(
        [np.array(members)[rng.integers(len(members), size=(DRAWS, each))].min(axis=1) for members in groups]
    )
    best = int(np.argmin([min(members) for members in groups]))
    return float((lows.argmin(axis=0) == best).mean())


def _place(state: SweepState, param: Param) -> int:
    return state.study.space.params.index(param)
