"""`plan --lr-table`: as read and accepted; and real engines on real ranks hold, and apply, exactly its numbers."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from gloo import on_ranks
from plans import tiny_plan
from rich.console import Console
from test_engine import make

from cluster.fleet import presets
from raytrain.groups import parameter_groups, zero_padding
from raytrain.lrtable import WIDTH, Rates, moments, rates, table
from raytrain.models.spec import SwinSpec
from raytrain.optim import planned_shapes
from raytrain.plan import RunPlan, resolve
from raytrain.recipes import recipe
from raytrain.recipes.assumed import assumed_data
from raytrain.schedule import learning_rate
from raytrain.settings import change

SWIN = SwinSpec(embed_dim=16, depths=(1, 2), head_dim=8, patch=2, window=4, drop_path=0.0)
CASES = [("torch", 0), ("deepspeed", 1), ("deepspeed", 2)]


def rows_of(plan: RunPlan) -> list[Rates]:
    shapes = planned_shapes(plan.recipe.model, plan.data.classes, plan.recipe.view.image_size)
    return rates(plan, shapes)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("swin_b_22k_to_1k", {"optimizer.layer_decay": 0.8}),
        ("swin_l_22k", {}),
        ("resnext50_cbam_1k", {}),
    ],
)
def test_tables_read_as_accepted(
    name: str, changes: dict[str, Any], golden: Callable[[str, str], None]
) -> None:
    plan = resolve(change(recipe(name), changes), presets()["h200x8"], assumed_data(name))
    console = Console(width=WIDTH, record=True, quiet=True)
    console.print(table(plan, rows_of(plan)))
    text = "\n".join(line.rstrip() for line in console.export_text().splitlines())
    golden(f"plans/{name}.lr.txt", text + "\n")
    numbers = sum(row.numbers for row in rows_of(plan))
    assert numbers == plan.estimates.parameters


def layered(world: int, engine: str, stage: int) -> RunPlan:
    """Six groups under layer decay, with a warm-up of 2 of 50 steps."""
    return tiny_plan(
        workers=world,
        engine=engine,
        zero_stage=stage,
        precision="fp32",
        model=SWIN,
        optimizer={"lr": 1e-2, "lr_batch": 16, "eps": 1e-12, "layer_decay": 0.5, "layer_buckets": 3},
        schedule={"warmup_epochs": 0.08, "warmup_start": 0.25, "end": 0.1},
    )


def told(rank: int, world: int) -> dict[tuple[str, int], Any]:
    """What every engine's optimizer holds after each of the table's steps, and how far the first one moved weights."""
    held: dict[tuple[str, int], Any] = {}
    for engine_name, stage in CASES:
        plan = layered(world, engine_name, stage)
        engine = make(plan)
        optimizer = engine.zero if engine_name == "deepspeed" else engine.optimizer  # type: ignore[attr-defined]
        seen, before, moved = {}, engine.gather(), None
        for moment, step in moments(plan).items():
            for _ in range(plan.placement.accumulation):
                size = plan.placement.micro_batch
                images = torch.randn(size, 3, 16, 16, generator=torch.Generator().manual_seed(rank))
                engine.forward_backward(images, torch.eye(8)[torch.arange(size) % 8])
            assert engine.step(learning_rate(plan, step)).applied
            seen[moment] = [
                (group["name"], group["lr"], group["weight_decay"]) for group in optimizer.param_groups
            ]
            if moved is None:
                after = engine.gather()
                moved = {name: (before[name], after[name]) for name in before}
        flat = sum(part.numel() for part in optimizer.bit16_groups_flat) if stage else None
        held[engine_name, stage] = (seen, moved, flat)
    return held


@pytest.fixture(scope="module", params=[1, 2])
def engines(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The number of ranks, and what the engines held on the last of them."""
    return request.param, on_ranks(request.param, told, tmp_path_factory.mktemp("ranks"))[-1]


@pytest.mark.ranks
@pytest.mark.parametrize("case", CASES)
def test_engines_hold_the_tables_numbers(engines: Any, case: tuple[str, int]) -> None:
    world, held = engines
    rows = rows_of(layered(world, *case))
    assert [row.lr_scale for row in rows] == [0.5**3.5] * 2 + [0.5**1.5] * 2 + [1, 1]
    seen = held[case][0]
    for moment in ("start", "peak", "end"):
        assert seen[moment] == [(row.group, getattr(row, moment), row.weight_decay) for row in rows]
    assert [rows[-1].start, rows[-1].peak, rows[-1].end] == pytest.approx([2.5e-3, 1e-2, 1e-3])


@pytest.mark.ranks
@pytest.mark.parametrize("case", CASES)
def test_engines_move_weights_by_the_tables_numbers(engines: Any, case: tuple[str, int]) -> None:
    """Adam's first step is the learning rate, whatever the gradient; AdamW takes lr x decay off the weight before."""
    world, held = engines
    plan, moved = layered(world, *case), held[case][1]
    shapes = planned_shapes(SWIN, 8, 16)
    for row, group in zip(rows_of(plan), parameter_groups(shapes, SWIN, plan.recipe.optimizer), strict=True):
        for name in group.parameters:
            before, after = moved[name]
            steps = (before * (1 - row.start * row.weight_decay) - after).abs()
            assert float(steps.max()) == pytest.approx(row.start, rel=2e-3), name


@pytest.mark.ranks
@pytest.mark.parametrize("stage", [1, 2])
def test_zero_pads_by_its_rule(engines: Any, stage: int) -> None:
    world, held = engines
    numbers = [row.numbers for row in rows_of(layered(world, "deepspeed", stage))]
    assert held["deepspeed", stage][2] == sum(numbers) + zero_padding(numbers, world)
    assert zero_padding(numbers, world) == (0, 2)[world - 1]


def test_the_command_prints_the_rows_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    from raytrain.cli.plan import print_lr_table

    plan = tiny_plan(engine="torch")
    print_lr_table(plan, as_json=True)
    rows = [Rates.model_validate(row) for row in json.loads(capsys.readouterr().out)]
    assert rows == rows_of(plan)
    assert [row.group for row in rows] == ["decay", "no_decay"]
    print_lr_table(plan, as_json=False)
    assert "padding" not in capsys.readouterr().out, "only ZeRO pads"
