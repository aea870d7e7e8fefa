"""Ranks: where this process stands among the workers, and the few collectives that are no engine's business."""

import os
import resource
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Rank `rank` of `world` data-parallel workers, on one device."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes and speaks."""
        return self.rank == 0

    def from_first(self, value: Any) -> Any:
        """Rank 0's value, on every rank: a small Python object."""
        if self.world == 1:
            return value
        box = [value if self.first else None]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def to_first(self, value: Any) -> list[Any]:
        """Every rank's value, in rank order, on rank 0; an empty list elsewhere."""
        if self.world == 1:
            return [value]
        gathered: list[Any] | None = [None] * self.world if self.first else None
        dist.gather_object(value, gathered, dst=0)
        return gathered or []

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """The element-wise mean over ranks, on every rank."""
        if self.world == 1:
            return values
        total = values.detach().clone()
        dist.all_reduce(total)
        return total / self.world


def alone() -> Ranks:
    """The only rank, without a process group: evaluation and tests."""
    return Ranks(
        rank=0, world=1, device=torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    )


def use_files() -> None:
    """Let this process and its children open as many files as the system allows: a mapped shard holds one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def use_threads(cpus: int) -> None:
    """Give torch a worker's own cores, whatever the launcher set: sums depend on the number of threads."""
    os.environ["OMP_NUM_THREADS"] = str(cpus)
    torch.set_num_threads(cpus)
