"""ZeRO 0 to 3: what any stage saved on any number of ranks goes on at any stage on any other, to the last bit."""

from typing import Any
from unittest.mock import patch

import pytest
import torch
from gloo import on_ranks
from plans import tiny_plan
from test_engine import assert_same, furthest, make, one_step

from raytrain.engine import Engine, EngineState
from raytrain.plan import RunPlan

pytestmark = pytest.mark.ranks
STAGES = (0, 1, 2, 3)
WORLDS = {1: 1, 3: 3, 4: 2}
"""Ranks that go on, and how many stages further: over the worlds, each stage goes on at each other one."""

SAVED_ON = 2


def planned(world: int, stage: int) -> RunPlan:
    """24 images a step divide over 1 to 4 ranks, in pairs."""
    return tiny_plan(
        workers=world, zero_stage=stage, precision="fp32", global_batch=24, ema_decay=0.9,
        optimizer={"name": "adamw", "lr": 1e-2, "lr_batch": 24}, execution={"channels_last": False},
    )  # fmt: skip


def pairs(world: int) -> list[tuple[int, int]]:
    """(stage saved at, stage that goes on)."""
    return [(stage, (stage + WORLDS[world]) % len(STAGES)) for stage in STAGES]


def engine_of(plan: RunPlan) -> Engine:
    """Stage 3 leaves what has few numbers whole on every rank, which all of a tiny network has: here nothing."""
    from raytrain.engine_deepspeed import deepspeed_config

    def parting(plan: RunPlan) -> dict[str, Any]:
        made = deepspeed_config(plan)
        return made | {
            "zero_optimization": made["zero_optimization"] | {"stage3_param_persistence_threshold": 0}
        }

    with patch("raytrain.engine_deepspeed.deepspeed_config", parting):
        engine = make(plan)
    parted = all(held.numel() == 0 for held in engine.module.parameters())
    assert parted == (plan.placement.zero_stage == 3)
    return engine


def first_steps(rank: int, world: int) -> dict[int, EngineState]:
    """Two steps and a NaN's at each stage."""
    found = {}
    for stage in STAGES:
        plan = planned(world, stage)
        engine = engine_of(plan)
        applied = [one_step(engine, plan, step, rank, poison=2) for step in range(3)]
        assert applied == [True, True, False]
        found[stage] = engine.save()
    return found


def go_on(
    rank: int, world: int, states: dict[int, EngineState]
) -> dict[tuple[int, int], tuple[EngineState, EngineState]]:
    """Each state into another stage, a different one for each number of ranks: saved at once, and after a step."""
    found = {}
    for saved, stage in pairs(world):
        plan = planned(world, stage)
        engine = engine_of(plan)
        engine.load(states[saved])
        again = engine.save()
        assert one_step(engine, plan, 3, rank)
        gathered = engine.gather()
        assert all(torch.equal(gathered[name], held) for name, held in engine.whole().state_dict().items())
        found[saved, stage] = again, engine.save()
    return found


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[int, EngineState]:
    return on_ranks(SAVED_ON, first_steps, tmp_path_factory.mktemp("first"))[0]


@pytest.mark.parametrize("world", WORLDS)
def test_it_goes_on_at_any_stage_on_any_number_of_ranks(world: int, saved, tmp_path) -> None:
    for results in on_ranks(world, go_on, tmp_path, saved):
        _, reference = next(iter(results.values()))
        for (before, _), (again, after) in results.items():
            assert_same(again, saved[before])
            assert again.ema is not None
            assert all(torch.equal(again.ema[name], tensor) for name, tensor in saved[before].ema.items())
            assert after.applied == 3
            assert furthest(after, saved[before]) > 1e-4
            assert furthest(after, reference) < 5e-5


def test_a_nan_moves_nothing_at_any_stage(saved) -> None:
    for state in saved.values():
        assert state.applied == 2
        assert all(bool(tensor.isfinite().all()) for tensor in state.model.values())
        assert furthest(state, saved[1]) < 2e-5
