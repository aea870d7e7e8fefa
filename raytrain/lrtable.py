"""The learning rate and weight decay of every parameter group when a run starts, at its peak and at its end.

A table of what the engines will be told, made from the plan by the functions that tell them (`optim.set_lr` and
`schedule.learning_rate`); tests read the same numbers back from both engines' optimizers.
"""

from collections.abc import Mapping
from math import prod

from rich.table import Table

from data_shards.shardset import Value
from raytrain.groups import parameter_groups, zero_padding
from raytrain.plan import RunPlan
from raytrain.schedule import learning_rate
from raytrain.tell import schedule_text

WIDTH = 120  # characters


class Rates(Value):
    """One group: its tensors and numbers, and the learning rate at three steps.

    AdamW takes `weight_decay` times the learning rate off every weight; SGD's momentum adds that up.
    """

    group: str
    tensors: int
    numbers: int
    lr_scale: float
    weight_decay: float
    start: float
    peak: float
    end: float


def moments(plan: RunPlan) -> dict[str, int]:
    """The steps that the table shows: the first, the first after the warm-up, the last."""
    last = plan.lengths.steps - 1
    return {"start": 0, "peak": min(plan.lengths.warmup_steps, last), "end": last}


def rates(plan: RunPlan, shapes: Mapping[str, tuple[int, ...]]) -> list[Rates]:
    """A row for each group, in the optimizer's order. `shapes` are the parameters' (`optim.planned_shapes`)."""
    whole = {moment: learning_rate(plan, step) for moment, step in moments(plan).items()}
    return [
        Rates(
            group=group.name,
            tensors=len(group.parameters),
            numbers=sum(prod(shapes[name]) for name in group.parameters),
            lr_scale=group.lr_scale,
            weight_decay=group.weight_decay,
            **{moment: lr * group.lr_scale for moment, lr in whole.items()},
        )
        for group in parameter_groups(shapes, plan.recipe.model, plan.recipe.optimizer)
    ]


def table(plan: RunPlan, rows: list[Rates]) -> Table:
    """The rows for people, WIDTH characters wide at most, and below them what the groups cost."""
    steps = ", ".join(f"{moment} step {step:,}" for moment, step in moments(plan).items())
    page = Table(
        title=f"{plan.recipe.name}: {plan.recipe.optimizer.name}, {schedule_text(plan)}\n{steps}",
        caption=cost(plan, rows),
        title_justify="left",
        caption_justify="left",
        box=None,
    )
    page.add_column("group", no_wrap=True)
    quantities = [f"{quantity} {moment}" for quantity in ("lr", "decay") for moment in moments(plan)]
    for heading in ("tensors", "numbers", "lr scale", *quantities):
        page.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        lrs = (row.start, row.peak, row.end)
        page.add_row(
            row.group,
            f"{row.tensors:,}",
            f"{row.numbers:,}",
            f"{row.lr_scale:.4g}",
            *(f"{lr:.3g}" for lr in lrs),
            *(f"{lr * row.weight_decay:.3g}" for lr in lrs),
        )
    return page


def cost(plan: RunPlan, rows: list[Rates]) -> str:
    """What the groups cost ZeRO: padding by its rule, and a reduction and a gather each (counted: docs/LOG.md)."""
    decay = f"decay: what a step takes off a weight, lr x {plan.recipe.optimizer.weight_decay:g}"
    groups = f"{len(rows)} group{'' if len(rows) == 1 else 's'}"
    if not plan.placement.zero_stage:
        return f"{decay}\n{groups}"
    workers = plan.placement.workers
    padding = zero_padding([row.numbers for row in rows], workers)
    return (
        f"{decay}\n{groups}: to ZeRO each is a reduction and a gather a step\n"
        f"padding to multiples of 2 x {workers} workers: {padding:,} numbers"
    )
