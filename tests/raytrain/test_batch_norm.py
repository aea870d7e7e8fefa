"""BatchNorm on two gloo ranks: each normalizes by its own micro-batch, and all evaluate and save one average."""

from typing import Any

import pytest
import torch
from gloo import on_ranks
from plans import tiny_plan
from test_engine import make, one_step

from data_shards.loader import Batch
from raytrain.engine import average_buffers
from raytrain.evaluate import evaluate
from raytrain.evaluation import Evaluation
from raytrain.models.build import build
from raytrain.plan import RunPlan
from raytrain.ranks import Ranks

pytestmark = pytest.mark.ranks
HELD_OUT, EACH = 24, 4


def held_out(rank: int, world: int) -> list[Batch]:
    """The rank's half of 24 random pictures, in batches of 4: as one rank would have them."""
    data = torch.Generator().manual_seed(7)
    images = torch.randint(256, (HELD_OUT, 3, 16, 16), generator=data, dtype=torch.uint8)
    own = range(HELD_OUT * rank // world, HELD_OUT * (rank + 1) // world, EACH)
    return [
        Batch(
            images=images[first : first + EACH],
            labels=torch.arange(first, first + EACH) % 8,
            slots=torch.arange(first, first + EACH),
            places=torch.zeros(EACH, 2, dtype=torch.int64),
        )
        for first in own
    ]


def evaluated(module: torch.nn.Module, rank: int, world: int) -> Evaluation | None:
    ranks = Ranks(rank=rank, world=world, device=torch.device("cpu"))
    return evaluate(
        module, held_out(rank, world), ranks=ranks, split="val", samples=HELD_OUT, classes=8, bf16=False
    )


def one_step_on_two(rank: int, world: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("torch", "deepspeed"):
        plan = tiny_plan(workers=world, engine=name, precision="fp32")
        engine = make(plan)
        assert one_step(engine, plan, step=0, rank=rank)
        bn1 = engine.module.get_submodule("bn1")
        own = bn1.running_mean.clone(), bn1.running_var.clone()
        average_buffers(engine.module)
        found[name] = {"own": own, "evaluation": evaluated(engine.module, rank, world)}
        found[name]["saved"] = engine.save().model
    return found


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return on_ranks(2, one_step_on_two, tmp_path_factory.mktemp("two"))


def network(plan: RunPlan) -> torch.nn.Module:
    return build(plan.recipe.model, plan.data.classes, plan.recipe.view.image_size, seed=3)


@pytest.mark.parametrize("name", ["torch", "deepspeed"])
def test_the_statistics_are_the_mean_of_what_each_rank_saw(name: str, both: list[dict[str, Any]]) -> None:
    data = torch.Generator().manual_seed(0)
    images = torch.randn(16, 3, 16, 16, generator=data)  # the batch of `one_step`
    with torch.no_grad():
        halves = network(tiny_plan()).get_submodule("conv1")(images).unflatten(0, (2, 8))
    seen = 0.1 * halves.mean((1, 3, 4)), 0.9 + 0.1 * halves.var((1, 3, 4))  # momentum 0.1, from 0 and 1
    for statistic, key in zip(seen, ("bn1.running_mean", "bn1.running_var"), strict=True):
        torch.testing.assert_close(both[0][name]["saved"][key], statistic.mean(0))
    for rank in (0, 1):
        torch.testing.assert_close(both[rank][name]["own"][0], seen[0][rank])
    assert (seen[0][0] - seen[0][1]).abs().max() > 1e-3, "the ranks saw other pictures"


@pytest.mark.parametrize("name", ["torch", "deepspeed"])
def test_a_checkpoint_holds_the_same_whichever_rank_saves(name: str, both: list[dict[str, Any]]) -> None:
    first, second = (rank[name]["saved"] for rank in both)
    assert first.keys() == second.keys()
    assert [key for key in first if not torch.equal(first[key], second[key])] == []


@pytest.mark.parametrize("name", ["torch", "deepspeed"])
def test_two_ranks_evaluate_what_one_rank_finds_in_the_checkpoint(
    name: str, both: list[dict[str, Any]]
) -> None:
    module = network(tiny_plan())
    module.load_state_dict(both[0][name]["saved"])
    two, alone = both[0][name]["evaluation"], evaluated(module, 0, 1)
    assert alone is not None
    exact = {"samples", "top1", "top5", "per_class", "confusions"}
    assert two.model_dump(include=exact) == alone.model_dump(include=exact)
    assert two.loss == pytest.approx(alone.loss, rel=1e-5)
    assert both[1][name]["evaluation"] is None
