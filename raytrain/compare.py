"""Plans side by side: a recipe as it is asked for, as the paper has it and as the repository has it. Text out."""

import json
from collections.abc import Mapping
from textwrap import wrap
from typing import Any, NamedTuple

from raytrain.plan import RunPlan, flatten

WIDTH = 118

NOT_COMPARED = {"name", "summary", "source", "published", "execution", "made_for", "seed"}
"""Of a recipe: what tells who it is, and how it is computed."""


class Line(NamedTuple):
    """A field or a resolved number, and its value in each column, as JSON."""

    name: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether the columns are not all the same."""
        return len(set(self.values)) > 1


def lines(plans: Mapping[str, RunPlan]) -> list[Line]:
    """Every field of the recipes and what they come to; resolved numbers first."""
    numbers = [_resolved(plan) for plan in plans.values()]
    resolved = [Line(name, tuple(json.dumps(found[name]) for found in numbers)) for name in numbers[0]]
    trees = [flatten(plan.recipe.model_dump(mode="json", exclude=NOT_COMPARED)) for plan in plans.values()]
    fields = list(dict.fromkeys(path for tree in trees for path in tree))
    return [*resolved, *(Line(path, tuple(tree.get(path, "-") for tree in trees)) for path in fields)]


def _resolved(plan: RunPlan) -> dict[str, float | None]:
    """What the fields come to, by the words of the table."""
    published = plan.recipe.published
    return {
        "learning rate": plan.lr,
        "steps": plan.lengths.steps,
        "warm-up steps": plan.lengths.warmup_steps,
        "steps per lr drop": plan.lengths.lr_drop_every,
        "parameters": plan.estimates.parameters,
        "GMAC / image": round(plan.estimates.forward_gmacs, 3),
        "published top-1": None if published is None else published.top1,
    }


def compare_text(plans: Mapping[str, RunPlan]) -> str:
    """A table of what differs, then what is the same in all columns, in brief."""
    names = max(len(column) for column in plans)
    head = [
        f"  {column:<{names}}  {plan.recipe.name}: {plan.recipe.source}" for column, plan in plans.items()
    ]
    found = lines(plans)
    differing = [line for line in found if line.differs]
    same = [f"{line.name} {_plain(line.values[0])}" for line in found if not line.differs]
    header = ["", *(f"  {column}" for column in plans)]
    table = _table([header, *map(_cells, differing)]) if differing else ["  nothing"]
    equal = [
        f"  {line}"
        for line in wrap(", ".join(same), WIDTH - 2, break_long_words=False, break_on_hyphens=False)
    ]
    title = "what differs (*: not as in the first column)"
    return "\n".join(["compared", *head, "", title, *table, "", "what is the same", *equal])


def compare_json(plans: Mapping[str, RunPlan]) -> dict[str, Any]:
    """The same for machines: `differs[field][column]` and `same[field]`."""
    found = lines(plans)
    return {
        "recipes": {column: plan.recipe.name for column, plan in plans.items()},
        "differs": {
            line.name: dict(zip(plans, map(_value, line.values), strict=True))
            for line in found
            if line.differs
        },
        "same": {line.name: _value(line.values[0]) for line in found if not line.differs},
    }


def _table(rows: list[list[str]]) -> list[str]:
    """Columns as wide as what is in them."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    padded = [[f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)] for row in rows]
    return ["  " + "  ".join(row).rstrip() for row in padded]


def _cells(line: Line) -> list[str]:
    """The line's name and values; one that is not the first column's is marked."""
    return [
        line.name,
        *(("* " if value != line.values[0] else "  ") + _plain(value) for value in line.values),
    ]


def _value(text: str) -> Any:
    """The value of a column; None where it has no such field."""
    return None if text == "-" else json.loads(text)


def _plain(text: str) -> str:
    """JSON as people write it: no quotes, none for null, thousands apart."""
    if text == "-":
        return text
    value = json.loads(text)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:g}"
    return {"null": "none"}.get(text, text.replace('"', ""))
