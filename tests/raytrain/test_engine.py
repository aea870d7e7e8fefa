"""Both engines behind the same five verbs, on real gloo ranks: equal to each other, exact across save and load."""

from typing import Any

import pytest
import torch
from gloo import on_ranks
from plans import tiny_plan

from raytrain.ema import Ema
from raytrain.engine import Engine, EngineState, Loss, TorchEngine
from raytrain.execution import lay_out, prepare
from raytrain.losses import soft_cross_entropy
from raytrain.models.build import build
from raytrain.optim import make_optimizer
from raytrain.plan import RunPlan

pytestmark = pytest.mark.ranks
CASES = [("deepspeed", 0), ("deepspeed", 1), ("deepspeed", 2), ("torch", 0)]


def make(plan: RunPlan) -> Engine:
    module = build(plan.recipe.model, plan.data.classes, plan.recipe.view.image_size, seed=3)
    optimizer = make_optimizer(module, plan.recipe, plan.lr)
    ema = Ema(module, plan.recipe.ema_decay) if plan.recipe.ema_decay is not None else None
    prepare(module, plan.recipe.execution)
    if plan.placement.engine == "deepspeed":
        from raytrain.engine_deepspeed import DeepSpeedEngine

        return DeepSpeedEngine(module, optimizer, plan, ema)
    lay_out(module, plan.recipe.execution)
    return TorchEngine(
        module,
        optimizer,
        device=torch.device("cpu"),
        accumulation=plan.placement.accumulation,
        clip_norm=plan.recipe.optimizer.clip_norm,
        bf16=plan.recipe.precision == "bf16",
        ema=ema,
    )


def one_step(
    engine: Engine, plan: RunPlan, step: int, rank: int, poison: int = -1, loss: Loss = soft_cross_entropy
) -> bool:
    micro = plan.placement.micro_batch
    share = micro * plan.placement.accumulation
    data = torch.Generator().manual_seed(step)
    images = torch.randn(plan.recipe.global_batch, 3, 16, 16, generator=data)
    targets = torch.eye(8)[torch.randint(8, (plan.recipe.global_batch,), generator=data)]
    if step == poison:
        images[-1, 0, 0, 0] = float("nan")  # the last rank's only
    for part in range(plan.placement.accumulation):
        mine = slice(rank * share + part * micro, rank * share + (part + 1) * micro)
        engine.forward_backward(images[mine], targets[mine], loss)
    return engine.step(1e-2).applied


def train(rank: int, plan: RunPlan, first: int, last: int, state: EngineState | None, poison: int = -1):
    """Steps `first` to `last`, saving after each: averaging BatchNorm's buffers is part of what must repeat."""
    torch.manual_seed(0)
    engine = make(plan)
    if state is not None:
        engine.load(state)
    saved, applied = [engine.save()] if state else [], []
    for step in range(first, last):
        applied.append(one_step(engine, plan, step, rank, poison))
        saved.append(engine.save())
    return saved, applied


def all_cases(rank: int, world: int) -> dict[str, Any]:
    """Everything that two ranks are asked, in one pair of processes: starting them costs more than the steps."""
    results: dict[str, Any] = {}
    for engine, stage in CASES:
        plan = tiny_plan(workers=world, engine=engine, zero_stage=stage)
        straight, _ = train(rank, plan, 0, 4, None)
        results[f"straight-{engine}-{stage}"] = straight
        results[f"resumed-{engine}-{stage}"] = train(rank, plan, 2, 4, straight[1])[0]
        results[f"poisoned-{engine}-{stage}"] = train(rank, plan, 0, 3, None, poison=2)
    twin = tiny_plan(workers=world, engine="torch")
    results["moved-to-torch"] = train(rank, twin, 2, 2, results["straight-deepspeed-1"][1])[0][0]
    for optimizer in ("adamw", "sgd"):
        recipe = {"precision": "fp32", "optimizer": {"name": optimizer, "lr": 1e-2, "lr_batch": 16}}
        recipe["execution"] = {"channels_last": False}  # another layout of weights sums in another order
        for engine in ("torch", "deepspeed"):
            plan = tiny_plan(workers=world, engine=engine, **recipe)
            results[f"{optimizer}-{engine}"] = train(rank, plan, 0, 4, None)[0][-1]
            taught = make(plan)
            one_step(taught, plan, 0, rank, loss=away_from_the_first_class)
            results[f"taught-{optimizer}-{engine}"] = taught.save()
    for engine in ("torch", "deepspeed"):
        plan = tiny_plan(workers=world, engine=engine, zero_stage=0)
        halves = plan.placement.model_copy(update={"micro_batch": 4, "accumulation": 2})
        results[f"whole-{engine}"] = train(
            rank, plan.model_copy(update={"placement": halves}), 0, 4, None, poison=2
        )
    return results


def away_from_the_first_class(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return soft_cross_entropy(logits, targets) + logits[:, 0].float().mean()


def reload(rank: int, world: int, state: EngineState) -> EngineState:
    return train(rank, tiny_plan(workers=world), 2, 2, state)[0][0]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Rank 0's results, after checking that rank 1 ended with the same saved states."""
    first, second = on_ranks(2, all_cases, tmp_path_factory.mktemp("two"))
    for engine, stage in CASES:
        name = f"straight-{engine}-{stage}"
        assert_same(first[name][-1], second[name][-1])
    return first


def assert_same(left: EngineState, right: EngineState) -> None:
    assert left.applied == right.applied
    assert left.model.keys() == right.model.keys()
    for name, tensor in left.model.items():
        assert torch.equal(tensor, right.model[name]), name
    for name, held in left.moments.items():
        for key, tensor in held.items():
            assert torch.equal(tensor, right.moments[name][key]), (name, key)


def furthest(left: EngineState, right: EngineState) -> float:
    return max(float((left.model[n].float() - right.model[n].float()).abs().max()) for n in left.model)


@pytest.mark.parametrize(("engine", "stage"), CASES)
def test_a_saved_run_goes_on_bit_for_bit(engine: str, stage: int, results) -> None:
    assert_same(results[f"resumed-{engine}-{stage}"][-1], results[f"straight-{engine}-{stage}"][-1])


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_deepspeed_computes_what_plain_torch_computes(optimizer: str, results) -> None:
    for loss in ("", "taught-"):
        assert furthest(results[f"{loss}{optimizer}-torch"], results[f"{loss}{optimizer}-deepspeed"]) < 2e-5


def test_without_zero_deepspeed_computes_the_same_bits(results) -> None:
    """In two micro-batches a step, in bf16 and channels last, with a step in between that is not applied."""
    (torchs, applied), (deepspeeds, agreed) = results["whole-torch"], results["whole-deepspeed"]
    assert applied == agreed == [True, True, False, True]
    assert_same(torchs[-1], deepspeeds[-1])


def test_state_moves_to_another_worker_count(results, tmp_path) -> None:
    state = results["straight-deepspeed-1"][1]
    for loaded in on_ranks(1, reload, tmp_path, state):
        assert_same(loaded, state)


def test_state_moves_to_the_other_engine(results) -> None:
    assert_same(results["moved-to-torch"], results["straight-deepspeed-1"][1])


@pytest.mark.parametrize(("engine", "stage"), CASES)
def test_one_ranks_nan_moves_nothing_not_even_batch_norms_buffers(engine: str, stage: int, results) -> None:
    saved, applied = results[f"poisoned-{engine}-{stage}"]
    assert applied == [True, True, False]
    assert_same(saved[2], saved[1])
