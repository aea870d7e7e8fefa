"""Real engines on 1 and 2 gloo ranks hold, apply and restore the parameter groups that `plan --lr-table` shows."""

from typing import Any, NamedTuple

import pytest
import torch
from gloo import on_ranks
from plans import tiny_plan
from test_engine import assert_same, make
from test_lrtable import rows_of
from torch import Tensor

from raytrain.engine import Engine, EngineState, StepResult
from raytrain.groups import parameter_groups, zero_padding
from raytrain.lrtable import moments
from raytrain.models.spec import SwinSpec
from raytrain.optim import planned_shapes
from raytrain.plan import RunPlan
from raytrain.schedule import learning_rate

pytestmark = pytest.mark.ranks
CASES = [("torch", 0), ("deepspeed", 0), ("deepspeed", 1), ("deepspeed", 2)]
SWIN = SwinSpec(embed_dim=16, depths=(1, 2), head_dim=8, patch=2, window=4, drop_path=0.0)
CLIP = 0.01


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


def clipped(world: int, engine: str, stage: int) -> RunPlan:
    """SGD without momentum or decay: a step is the learning rate times the clipped gradient."""
    sgd = {"name": "sgd", "momentum": 0.0, "weight_decay": 0.0, "clip_norm": CLIP}
    return tiny_plan(
        workers=world, engine=engine, zero_stage=stage, precision="fp32", model=SWIN, optimizer=sgd
    )


def one_step(engine: Engine, plan: RunPlan, step: int, lr: float) -> StepResult:
    """The same images on every rank, so that any number of ranks has one gradient."""
    images = torch.randn(plan.placement.micro_batch, 3, 16, 16, generator=torch.Generator().manual_seed(step))
    for _ in range(plan.placement.accumulation):
        engine.forward_backward(images, torch.eye(8)[torch.arange(len(images)) % 8])
    result = engine.step(lr)
    assert result.applied
    return result


class Seen(NamedTuple):
    """What one engine showed.

    groups    the optimizer's groups (name, lr, weight decay) after the step of each of the table's moments
    moved     each tensor before and after the first step
    flat      how many numbers ZeRO's flat tensors hold
    states    after three steps: straight, and by another engine that began from the state after two
    clipped   the gradient's norm, and how far one step of learning rate 1 moved all weights
    """

    groups: dict[str, list[tuple[str, float, float]]]
    moved: dict[str, tuple[Tensor, Tensor]]
    flat: int | None
    states: tuple[EngineState, EngineState]
    clipped: tuple[float, float]


def look(world: int, kind: str, stage: int) -> Seen:
    plan = layered(world, kind, stage)
    engine = make(plan)
    optimizer = engine.optimizer if kind == "torch" else engine.zero  # type: ignore[attr-defined]
    flat = sum(part.numel() for part in optimizer.bit16_groups_flat) if stage else None
    groups, states = {}, [engine.save()]
    for moment, step in moments(plan).items():
        one_step(engine, plan, step, learning_rate(plan, step))
        groups[moment] = [
            (group["name"], group["lr"], group["weight_decay"]) for group in optimizer.param_groups
        ]
        states.append(engine.save())
    other = make(plan)
    other.load(states[2])
    last = moments(plan)["end"]
    one_step(other, plan, last, learning_rate(plan, last))
    moved = {name: (tensor, states[1].model[name]) for name, tensor in states[0].model.items()}
    return Seen(groups, moved, flat, (states[3], other.save()), clip(clipped(world, kind, stage)))


def clip(plan: RunPlan) -> tuple[float, float]:
    engine = make(plan)
    before = engine.gather()
    norm = one_step(engine, plan, 0, 1.0).grad_norm
    after, learned = engine.gather(), [name for name, _ in engine.module.named_parameters()]
    return norm, float(sum((after[name] - before[name]).double().square().sum() for name in learned) ** 0.5)


def look_at_all(rank: int, world: int) -> dict[tuple[str, int], Seen]:
    return {case: look(world, *case) for case in CASES}


@pytest.fixture(scope="module", params=[1, 2])
def engines(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The number of ranks, and what the last of them saw."""
    return request.param, on_ranks(request.param, look_at_all, tmp_path_factory.mktemp("ranks"))[-1]


@pytest.mark.parametrize("case", CASES)
def test_the_optimizer_holds_the_tables_numbers(engines: Any, case: tuple[str, int]) -> None:
    world, seen = engines
    rows = rows_of(layered(world, *case))
    assert [row.lr_scale for row in rows] == [0.5**3.5] * 2 + [0.5**1.5] * 2 + [1, 1]
    for moment in ("start", "peak", "end"):
        assert seen[case].groups[moment] == [
            (row.group, getattr(row, moment), row.weight_decay) for row in rows
        ]
    assert [rows[-1].start, rows[-1].peak, rows[-1].end] == pytest.approx([2.5e-3, 1e-2, 1e-3])


@pytest.mark.parametrize("case", CASES)
def test_weights_move_by_the_tables_numbers(engines: Any, case: tuple[str, int]) -> None:
    """Adam's first step is the learning rate, whatever the gradient; AdamW takes lr x decay off the weight before."""
    world, seen = engines
    plan = layered(world, *case)
    groups = parameter_groups(planned_shapes(SWIN, 8, 16), SWIN, plan.recipe.optimizer)
    for row, group in zip(rows_of(plan), groups, strict=True):
        for name in group.parameters:
            before, after = seen[case].moved[name]
            steps = (before * (1 - row.start * row.weight_decay) - after).abs()
            assert float(steps.max()) == pytest.approx(row.start, rel=2e-3), name


@pytest.mark.parametrize("stage", [1, 2])
def test_zero_pads_by_its_rule(engines: Any, stage: int) -> None:
    world, seen = engines
    numbers = [row.numbers for row in rows_of(layered(world, "deepspeed", stage))]
    assert seen["deepspeed", stage].flat == sum(numbers) + zero_padding(numbers, world)
    assert zero_padding(numbers, world) == (0, 2)[world - 1]


@pytest.mark.parametrize("case", CASES)
def test_many_groups_are_saved_and_restored_to_the_bit(engines: Any, case: tuple[str, int]) -> None:
    _, seen = engines
    assert_same(*seen[case].states)


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_clipped_to_its_norm(engines: Any, case: tuple[str, int]) -> None:
    _, seen = engines
    norm, moved = seen[case].clipped
    assert norm > 10 * CLIP, "measured before clipping"
    assert norm == pytest.approx(seen["torch", 0].clipped[0], rel=1e-4)
    assert moved == pytest.approx(CLIP, rel=1e-3)
