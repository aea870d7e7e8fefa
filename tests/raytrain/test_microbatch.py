"""Auto micro-batch: the search, what a trial is, agreement among ranks, and a run that trains on the same batches.

There is no GPU to fill here: a limit stands for it, or a network that raises what CUDA raises.
"""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from gloo import on_ranks
from hypothesis import given
from hypothesis import strategies as st
from plans import paper_shardset, tiny_plan, tiny_recipe
from torch import Tensor, nn

from cluster.fleet import presets
from data_shards.shardset import load_shardset
from raytrain.errors import RunError, UsageError
from raytrain.job import Job
from raytrain.manifest import key_of
from raytrain.microbatch import Fits, largest, on_device, reserved, settle, try_out
from raytrain.models.spec import SwinSpec
from raytrain.plan import RunPlan, resolve
from raytrain.plan.fit import micro_batches
from raytrain.ranks import Ranks
from raytrain.runlog import EVENTS, LEDGER, METRICS, RunLog, read_rows
from raytrain.worker import work

CPU = torch.device("cpu")
HERE = Ranks(rank=0, world=1, device=CPU)
SWIN = SwinSpec(embed_dim=16, depths=(1, 2), head_dim=8, patch=2, window=4, drop_path=0.0)


def auto(plan: RunPlan) -> RunPlan:
    """As resolve makes it for a fleet with GPUs."""
    placement = plan.placement.model_copy(update={"micro_batch_auto": True})
    return plan.model_copy(update={"placement": placement})


def limited(limit: int) -> Callable[[RunPlan, Ranks], Fits]:
    """A device that holds so many images."""
    return lambda _plan, _ranks: lambda size: size <= limit


def never(plan: RunPlan, ranks: Ranks) -> Fits:
    raise AssertionError("nothing is to be tried")


@given(st.sets(st.integers(1, 4096), min_size=1), st.integers(0, 5000))
def test_the_largest_is_found_in_few_tries(found: set[int], limit: int) -> None:
    sizes, tried = sorted(found), []

    def fits(size: int) -> bool:
        tried.append(size)
        return size <= limit

    assert largest(sizes, fits) == max((size for size in sizes if size <= limit), default=None)
    assert len(tried) <= math.floor(math.log2(len(sizes))) + 1


class Hungry(nn.Module):
    """Out of memory above `limit` images; counts what it was given."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit, self.seen = limit, []
        self.head = nn.Linear(3, 8)

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(tuple(images.shape))
        if len(images) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if len(self.seen) == 2:
            assert self.head.weight.grad is not None, "the second pass has the gradients beside it"
        return self.head(images.mean((2, 3)))


def test_a_trial_is_two_passes_and_leaves_nothing() -> None:
    module, plan = Hungry(4), tiny_plan()
    assert try_out(module, plan, CPU, 4)
    assert module.seen == [(4, 3, 16, 16)] * 2
    assert module.head.weight.grad is None
    assert not try_out(module, plan, CPU, 8)
    assert module.head.weight.grad is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_that_is_full_says_so_and_is_empty_again() -> None:
    device = torch.device("cuda", 0)
    fits = on_device(tiny_plan(engine="torch"), Ranks(rank=0, world=1, device=device))
    assert fits(2)
    held = torch.cuda.memory_allocated(device)  # of the matrix library's own, from its first use on
    assert [fits(size) for size in (2, 10**7, 2)] == [True, False, True]
    assert torch.cuda.memory_allocated(device) == held


class Broken(nn.Module):
    def forward(self, _: Tensor) -> Tensor:
        raise ValueError("not what it seems")


def test_another_error_is_no_verdict() -> None:
    with pytest.raises(ValueError, match="not what it seems"):
        try_out(Broken(), tiny_plan(), CPU, 2)


def test_the_engines_memory_is_reserved_by_hand() -> None:
    """ZeRO 1 on 4 workers: 3 numbers of 4 bytes each / 4, and two buckets. Without: two moments and a bucket."""
    count = tiny_plan().estimates.parameters
    assert reserved(tiny_plan(4, zero_stage=1, global_batch=64), CPU) == count * 12 // 4 + 8 * count
    assert reserved(tiny_plan(4, global_batch=64), CPU) == count * 8 + 4 * count


def test_the_network_to_be_trained_is_what_is_tried() -> None:
    assert on_device(tiny_plan(), HERE)(2)


def disagreeing(rank: int, world: int) -> tuple[int, int]:
    """The first rank has room for 8 images, the second for 4."""
    plan = auto(tiny_plan(workers=world, global_batch=64))
    ranks = Ranks(rank=rank, world=world, device=CPU)
    found = settle(plan, ranks, RunLog(None), limited(8 >> rank)).placement
    return found.micro_batch, found.accumulation


@pytest.mark.ranks
def test_ranks_agree_on_what_fits_all_of_them(tmp_path: Path) -> None:
    assert on_ranks(2, disagreeing, tmp_path) == [(4, 8), (4, 8)]


def plan_for(data: str) -> RunPlan:
    """A Swin without drop path: what it computes does not depend on how a batch is divided. 8 steps."""
    recipe = tiny_recipe(precision="fp32", model=SWIN, epochs=1, checkpoint_epochs=0.5)
    return resolve(recipe, presets()["local"], load_shardset(data), engine="torch")


def job_at(run: Path, data: str, plan: RunPlan) -> Job:
    run.mkdir(exist_ok=True)
    return Job(plan=plan, data_url=data, run=str(run))


def found_events(run: Path) -> list[dict[str, object]]:
    rows = [row for row in read_rows(run / EVENTS) if row["event"] == "micro_batch"]
    return [{key: value for key, value in row.items() if key not in ("time", "event")} for row in rows]


def test_a_run_finds_its_size_and_trains_on_the_same_batches(small_set: str, tmp_path: Path) -> None:
    plan = plan_for(small_set)
    assert (plan.placement.micro_batch, plan.placement.accumulation) == (16, 1)
    planned, found = tmp_path / "planned", tmp_path / "found"
    work(job_at(planned, small_set, plan), HERE, trial=never)
    assert found_events(planned) == []
    job = job_at(found, small_set, auto(plan))
    work(job, HERE, trial=limited(5))
    assert found_events(found) == [
        {
            "size": 4,
            "planned": 16,
            "workers": 1,
            "device": "cpu",
            "engine": "torch",
            "zero_stage": 0,
            "execution": {"checkpointing": False, "channels_last": True, "compile": False},
            "tried": {"8": False, "4": True},
        }
    ]
    assert read_rows(found / LEDGER) == read_rows(planned / LEDGER)
    losses = [[row["loss"] for row in read_rows(run / METRICS)] for run in (planned, found)]
    assert len(losses[0]) == 8
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    again = job.model_copy(update={"resume": f"{found}/{key_of(4)}"})
    work(again, HERE, trial=never)
    assert len(found_events(found)) == 1, "what was found is kept"


def test_elsewhere_it_is_looked_for_again(small_set: str, tmp_path: Path) -> None:
    plan, log = auto(plan_for(small_set)), RunLog(tmp_path)
    log.event("micro_batch", size=2, planned=16, workers=2, device="cpu", tried={})
    log.event("micro_batch", size=2, planned=16, workers=1, device="NVIDIA H200", tried={})
    alike = {
        "workers": 1,
        "device": "cpu",
        "engine": plan.placement.engine,
        "zero_stage": plan.placement.zero_stage,
    }
    recomputed = {"checkpointing": True, "channels_last": True, "compile": False}
    log.event("micro_batch", size=2, planned=16, **alike, execution=recomputed, tried={})
    placement = settle(plan, HERE, log, limited(99)).placement
    assert (placement.micro_batch, placement.accumulation) == (16, 1)
    assert settle(plan, HERE, log, never).placement == placement
    assert [event["size"] for event in found_events(tmp_path)] == [2, 2, 2, 16]


def test_nothing_fits_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(RunError) as refused:
        settle(auto(tiny_plan()), HERE, RunLog(tmp_path), limited(0))
    said = str(refused.value)
    assert said.startswith(
        "out of memory even at micro-batch 2 on cpu: use a smaller model or --set view.image_size"
    )


def test_it_is_for_gpus_and_changes_no_identity() -> None:
    with pytest.raises(UsageError, match=r"--auto-micro-batch tries sizes .* fleet 'local' has CPUs"):
        resolve(tiny_recipe(), presets()["local"], paper_shardset(), auto_micro_batch=True)
    plain, asked = (
        resolve(tiny_recipe(), presets()["h200x8"], paper_shardset(), auto_micro_batch=wanted)
        for wanted in (False, True)
    )
    assert plain.hash == asked.hash
    assert asked.placement == plain.placement.model_copy(update={"micro_batch_auto": True})
    assert asked.because["placement.micro_batch"].startswith(
        "a first guess, the workers try: largest even divisor"
    )


def test_sizes_divide_the_share_and_are_even_where_images_are_paired() -> None:
    assert micro_batches(tiny_recipe(global_batch=24), 2) == [2, 4, 6, 12]
    plain = tiny_recipe(global_batch=24, regularization={"mixup": 0.0, "cutmix": 0.0})
    assert micro_batches(plain, 2) == [1, 2, 3, 4, 6, 12]
