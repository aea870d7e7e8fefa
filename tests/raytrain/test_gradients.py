"""The mean of gradients: what it is, in which order it is added up, and that a run goes on to the same bits with it."""

from typing import Any
from unittest.mock import patch

import pytest
import torch
from gloo import on_ranks
from hypothesis import given
from hypothesis import strategies as st
from plans import tiny_plan
from test_engine import assert_same, train
from torch import nn

from raytrain.gradients import MeanOfGradients, buckets, share
from raytrain.plan.memory import BUCKET_BYTES

RANKS = 3
"""Two add up to the same in any order."""


@given(st.lists(st.integers(1, 3 * BUCKET_BYTES // 4), min_size=1, max_size=20))
def test_buckets_hold_all_last_first_and_no_more_than_they_may(numbers: list[int]) -> None:
    parameters = [nn.Parameter(torch.empty(number, device="meta")) for number in numbers]
    found = buckets(parameters)
    assert [one for bucket in found for one in bucket] == parameters[::-1]
    sizes = [sum(one.nbytes for one in bucket) for bucket in found]
    assert all(size <= BUCKET_BYTES or len(bucket) == 1 for size, bucket in zip(sizes, found, strict=True))
    for size, following in zip(sizes, found[1:], strict=False):
        assert size + following[0].nbytes > BUCKET_BYTES, "or it had had room"


def network(rank: int) -> nn.Module:
    """A convolution that lies channels last, a large layer, and some that are small."""
    torch.manual_seed(rank)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 4, 100), nn.ReLU(), nn.Linear(100, 2)
    )
    return layers.to(memory_format=torch.channels_last)


def passes(rank: int, world: int) -> dict[str, Any]:
    """Two windows of two micro-batches each, in buckets of 2 kB; and what one that misses a parameter is told."""
    module = network(rank)
    share(module)
    with patch("raytrain.gradients.BUCKET_BYTES", 2000):
        mean = MeanOfGradients(module)
    alone = network(0)
    images = torch.randn(world, 2, 2, 3, 4, 4, generator=torch.Generator().manual_seed(5))
    windows = []
    for window in range(2):
        module.zero_grad(set_to_none=True)
        for part in range(2):
            with mean.taken(last=part == 1):
                module(images[rank, window, part][None]).square().sum().backward()
        windows.append([one.grad.clone() for one in module.parameters()])
    alone.zero_grad()
    (alone(images[:, 1].flatten(0, 1)).square().sum() / world).backward()
    told = ""
    try:
        with mean.taken(last=True):
            module[0](images[rank, 0, 0][None]).sum().backward()
    except AssertionError as error:
        told = str(error)
    return {
        "buckets": [len(bucket) for bucket in mean.buckets],
        "weights": [one.detach() for one in module.parameters()],
        "mean": windows[1],
        "expected": [one.grad for one in alone.parameters()],
        "told": told,
    }


def going_on(rank: int, world: int) -> dict[str, Any]:
    """Five steps, and the last three of them again from a checkpoint, in each engine."""
    found = {}
    for engine in ("torch", "deepspeed"):
        plan = tiny_plan(workers=world, engine=engine, zero_stage=0, global_batch=24, precision="fp32")
        straight, _ = train(rank, plan, 0, 5, None)
        found[engine] = straight[-1], train(rank, plan, 2, 5, straight[1])[0][-1]
    return found


def both(rank: int, world: int) -> dict[str, Any]:
    return {"passes": passes(rank, world), "going on": going_on(rank, world)}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """In one set of processes: starting them costs more than the steps."""
    return on_ranks(RANKS, both, tmp_path_factory.mktemp("ranks"))


@pytest.mark.ranks
def test_every_rank_has_the_mean_of_all_after_the_windows_last_pass(ranks: list[dict[str, Any]]) -> None:
    first, *others = [rank["passes"] for rank in ranks]
    assert first["buckets"] == [3, 1, 2], "the large layer travels alone"
    for rank in others:
        assert all(torch.equal(*pair) for pair in zip(rank["weights"], first["weights"], strict=True))
        assert all(torch.equal(*pair) for pair in zip(rank["mean"], first["mean"], strict=True))
    for mean, expected in zip(first["mean"], first["expected"], strict=True):
        torch.testing.assert_close(mean, expected)
        assert mean.stride() == expected.stride()
    assert first["told"] == "no part in the loss: ['2.bias', '2.weight', '4.bias', '4.weight']"


@pytest.mark.ranks
def test_a_run_of_three_ranks_goes_on_bit_for_bit(ranks: list[dict[str, Any]]) -> None:
    """With torch's DDP it did not: the first step of a process adds up in another order than its later ones."""
    for straight, again in ranks[0]["going on"].values():
        assert_same(straight, again)
