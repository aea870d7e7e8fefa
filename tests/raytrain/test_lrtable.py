"""`plan --lr-table`: as read and accepted, and complete. What engines make of it: test_engine_groups.py."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from plans import tiny_plan
from rich.console import Console

from cluster.fleet import presets
from raytrain.cli.plan import print_lr_table
from raytrain.lrtable import WIDTH, Rates, rates, table
from raytrain.optim import planned_shapes
from raytrain.plan import RunPlan, resolve
from raytrain.recipes import recipe
from raytrain.recipes.assumed import assumed_data
from raytrain.settings import change


def rows_of(plan: RunPlan) -> list[Rates]:
    shapes = planned_shapes(plan.recipe.model, plan.data.classes, plan.recipe.view.image_size)
    return rates(plan, shapes)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("swin_b_1k_224_from_22k", {"optimizer.layer_decay": 0.8}),
        ("swin_l_22k_224", {}),
        ("cbam_resnext50_1k_2018", {}),
    ],
)
def test_tables_read_as_accepted(
    name: str, changes: dict[str, Any], golden: Callable[[str, str], None]
) -> None:
    plan = resolve(change(recipe(name), changes), presets()["h200x8"], assumed_data(recipe(name).made_for))
    console = Console(width=WIDTH, record=True, quiet=True)
    console.print(table(plan, rows_of(plan)))
    text = "\n".join(line.rstrip() for line in console.export_text().splitlines())
    golden(f"plans/{name}.lr.txt", text + "\n")
    assert sum(row.numbers for row in rows_of(plan)) == plan.estimates.parameters


def test_swins_fine_tune_by_hand() -> None:
    """configs/swin/swin_base_patch4_window7_224_22kto1k_finetune.yaml at batch 1024: 4e-8, 4e-5, 4e-7; 1e-8."""
    plan = resolve(recipe("swin_b_1k_224_from_22k"), presets()["h200x8"], assumed_data("imagenet-1k"))
    decay, spared = rows_of(plan)
    assert (decay.group, decay.weight_decay, spared.group, spared.weight_decay) == (
        "decay",
        1e-8,
        "no_decay",
        0,
    )
    for row in (decay, spared):
        assert [row.start, row.peak, row.end] == pytest.approx([4e-8, 4e-5, 4e-7])


def test_the_command_prints_the_rows_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    plan = tiny_plan(engine="torch")
    print_lr_table(plan, as_json=True)
    rows = [Rates.model_validate(row) for row in json.loads(capsys.readouterr().out)]
    assert rows == rows_of(plan)
    assert [row.group for row in rows] == ["decay", "no_decay"]
    print_lr_table(plan, as_json=False)
    assert "padding" not in capsys.readouterr().out, "only ZeRO pads"
