"""Run a function on gloo ranks of this machine, each in a process of its own."""

import os
import socket
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def on_ranks(world: int, function: Callable[..., Any], out: Path, *args: Any) -> list[Any]:
    """`function(rank, world, *args)` on every rank; the results in rank order. A rank's error fails the caller."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(_rank, args=(world, port, function, out, args), nprocs=world)
    return [torch.load(out / f"rank-{rank}.pt", weights_only=False) for rank in range(world)]


def _rank(
    rank: int, world: int, port: int, function: Callable[..., Any], out: Path, args: tuple[Any, ...]
) -> None:
    os.environ.update(
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        RANK=str(rank),
        WORLD_SIZE=str(world),
        LOCAL_RANK=str(rank),
        DS_ACCELERATOR="cpu",
        OMP_NUM_THREADS="1",
    )
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world, timeout=timedelta(seconds=600))
    try:
        torch.save(function(rank, world, *args), out / f"rank-{rank}.pt")
    finally:
        dist.destroy_process_group()
