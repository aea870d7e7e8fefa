"""A plan's bytes of a worker against the tensors that the real engines hold, on 1 and 2 gloo ranks.

Not seen from here: what autocast keeps, which lives within a pass.
"""

from typing import Any, NamedTuple

import pytest
import torch
from gloo import on_ranks
from plans import tiny_plan
from test_engine import make
from torch import Tensor, nn

from raytrain.groups import parameter_groups, zero_padding
from raytrain.models.spec import SwinSpec
from raytrain.optim import planned_shapes
from raytrain.plan import RunPlan

pytestmark = pytest.mark.ranks
SWIN = SwinSpec(embed_dim=16, depths=(1, 2), head_dim=8, patch=2, window=4, drop_path=0.0)
CASES = [
    (engine, stage, optimizer, precision)
    for engine, stage in (("torch", 0), ("deepspeed", 0), ("deepspeed", 1), ("deepspeed", 2))
    for optimizer in ("adamw", "sgd")
    for precision in ("fp32", "bf16")
]


class Held(NamedTuple):
    """Bytes of an engine's tensors, by the plan's parts; `accumulated` before a window ends, `reduced` after."""

    weights: int
    accumulated: int
    reduced: int
    buckets: int
    optimizer: int
    average: int


def planned(world: int, engine: str, stage: int, optimizer: str, precision: str) -> RunPlan:
    """Two micro-batches of 4 images a step, and an average."""
    plan = tiny_plan(
        workers=world,
        engine=engine,
        zero_stage=stage,
        model=SWIN,
        precision=precision,
        optimizer={"name": optimizer, "lr": 1e-2, "lr_batch": 16, "layer_decay": 0.5, "layer_buckets": 3},
        global_batch=8 * world,
        ema_decay=0.9,
    )
    placement = plan.placement.model_copy(update={"micro_batch": 4, "accumulation": 2})
    return plan.model_copy(update={"placement": placement})


def size(tensors: Any) -> int:
    """Bytes of tensors, or of lists of them. A counter of steps has no dimension and is left out."""
    if isinstance(tensors, Tensor):
        return tensors.numel() * tensors.element_size() if tensors.dim() else 0
    return sum(size(tensor) for tensor in tensors if tensor is not None)


def grads(module: nn.Module) -> int:
    return size([parameter.grad for parameter in module.parameters()])


def look(world: int, case: tuple[str, int, str, str]) -> Held:
    plan = planned(world, *case)
    engine: Any = make(plan)
    images, targets = torch.randn(4, 3, 16, 16), torch.eye(8)[:4]
    for _ in range(2):  # steps: the second has moments to hold
        engine.forward_backward(images, targets)
        zero = engine.zero if case[1] else None
        accumulated = grads(engine.module)
        buckets = largest_bucket(engine.gradients.buckets) if zero is None else bucket_bytes(zero)
        engine.forward_backward(images, targets)
        reduced = grads(engine.module) if zero is None else size(zero.averaged_gradients.values())
        engine.step(1e-2)
    inner = engine.optimizer if case[0] == "torch" else engine.inner
    moments = size(tensor for state in inner.state.values() for tensor in state.values())
    copy = 0 if zero is None else size(zero.single_partition_of_fp32_groups)
    weights = size(engine.module.parameters()) if zero is None else size(zero.bit16_groups_flat)
    return Held(weights, accumulated, reduced, buckets, moments + copy, size(engine.ema.module.parameters()))


def largest_bucket(buckets: list[list[nn.Parameter]]) -> int:
    """Of the gradients that travel together; one that travels alone is not copied."""
    return max((size(bucket) for bucket in buckets if len(bucket) > 1), default=0)


def bucket_bytes(zero: Any) -> int:
    """What a backward pass allocates before it begins, made here once more: it lets go of it at its end."""
    return len(zero.ipg_buckets) * zero.reduce_bucket_size * zero._gradient_reduction_buffer_dtype().itemsize


def look_at_all(rank: int, world: int) -> dict[Any, Held]:
    return {case: look(world, case) for case in CASES}


@pytest.fixture(scope="module", params=[1, 2])
def engines(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The number of ranks, and what each of them holds."""
    return request.param, on_ranks(request.param, look_at_all, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_worker_holds_what_the_plan_says(engines: Any, case: tuple[str, int, str, str]) -> None:
    """To the byte: ZeRO pads each group to whole partitions, and each worker holds its part of that too."""
    world, ranks = engines
    plan = planned(world, *case)
    told = plan.estimates.memory
    assert told is not None
    shapes = planned_shapes(SWIN, 8, 16)
    groups = parameter_groups(shapes, SWIN, plan.recipe.optimizer)
    numbers = [sum(torch.Size(shapes[name]).numel() for name in group.parameters) for group in groups]
    padding = 4 * zero_padding(numbers, world) if case[1] else 0
    assert (padding > 0) == (world == 2 and case[1] > 0), "or nothing is seen of it"
    per_number = told.optimizer * world // (4 * sum(numbers))
    for held in ranks:
        seen = held[case]
        assert seen.weights == told.weights + padding
        assert seen.optimizer == told.optimizer + per_number * padding // world
        assert seen.average == told.average
        assert seen.buckets == told.reduction
        if case[1] == 2:
            assert seen.accumulated == 0, "ZeRO 2 keeps its share alone"
            assert seen.reduced == told.gradients + padding // world
        else:
            assert seen.accumulated == told.gradients
