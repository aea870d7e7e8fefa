"""How often to save: what a checkpoint takes from a step against what a failure takes from the run."""

import math

from raytrain.plan.values import Lengths

FAILURE_HOURS = 7.9 * 1024
"""Worker-hours between failures: 7.9 h between those of a job on 1,024 GPUs, Meta's research clusters, 150 million
GPU-hours (arXiv 2410.21680). Llama 3's 419 in 54 days on 16,384 GPUs are six times as rare. Other machines, spot ones
above all, have rates of their own, which nobody published for image training."""

SNAPSHOT_RATE = 1e9
"""Bytes a second from the workers into host memory, gathering included: a guess, on the slow side for a GPU. A CPU
worker is measured in benchmarks/checkpoints.py."""

MOST_STALL = 0.02
"""Of the time, that steps may wait for snapshots."""


def stall_seconds(checkpoint_bytes: int) -> float:
    """What a step waits for a snapshot; files and digests are made behind the steps (raytrain/saving.py)."""
    return checkpoint_bytes / SNAPSHOT_RATE


def interval_minutes(checkpoint_bytes: int, workers: int) -> float:
    """Between checkpoints: sqrt(2 x stall x time between failures), and never so short that stalls exceed MOST_STALL.

    The square root is Young's (Communications of the ACM 17(9), 1974, 530-531): it makes least the sum of stalls and
    of work that is done again, half an interval per failure.
    """
    stall = stall_seconds(checkpoint_bytes)
    failures_apart = FAILURE_HOURS * 3600 / workers
    return max(math.sqrt(2 * stall * failures_apart), stall / MOST_STALL) / 60


def because(workers: int) -> str:
    """The rule in words."""
    apart = f"{FAILURE_HOURS:,.0f} worker-hours (arXiv 2410.21680), {FAILURE_HOURS / workers:,.0f} h here"
    return (
        "Young 1974: sqrt(2 x stall x time between failures); "
        f"stall: checkpoint / {SNAPSHOT_RATE / 1e9:g} GB/s, ASSUMED; a failure per {apart}"
    )


def in_steps(minutes: float, hours: float | None, lengths: Lengths) -> int | None:
    """The interval in optimizer steps, a run being no longer than itself; None where its time is unknown."""
    if hours is None:
        return None
    return max(1, min(lengths.steps, round(lengths.steps * minutes / 60 / hours)))
