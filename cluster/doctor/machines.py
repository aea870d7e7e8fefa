"""What the nodes say of themselves, judged. Pure: facts in, findings out; `probe.look` says what a node's facts are."""

from collections import Counter
from typing import Any

from cluster.doctor.finding import EVERYWHERE, Finding, judged
from cluster.fleet import Fleet

Facts = dict[str, dict[str, Any]]
"""What `probe.look` gave, by node."""

GIB = 2**30
OPEN_FILES = 65536
"""What Ray's documentation asks for (docs.ray.io, "ulimit"), and what our manifests set."""
LEAST_SHARED, SHARED_OF_MEMORY = GIB, 0.3
"""Of /dev/shm: data processes hand batches on through it, and Docker gives 64 MiB. Ray's object store takes 30 % of the
memory there (ray/_private/ray_constants.py, DEFAULT_OBJECT_STORE_MEMORY_PROPORTION), else it lies on a disk."""
SKEW_WARN, SKEW_BAD = 1.0, 30.0
"""Seconds. The order of a run's logs is by clocks; S3 itself refuses signatures at 15 minutes."""


def same_versions(facts: Facts, here: dict[str, str]) -> list[Finding]:
    """Whether every node has the packages that are here, where the plan was made. raytrain's is its source's digest."""
    findings = []
    for package, mine in here.items():
        others = {node: said["versions"][package] for node, said in facts.items()}
        wrong = {node: version for node, version in others.items() if version != mine}
        findings += [
            Finding(
                check=f"version of {package}", node=node, state="bad", there=version, limit=f"{mine}, as here",
                fix="install the same raytrain and constraints.txt there, or start from the same image",
            )
            for node, version in wrong.items()
        ]  # fmt: skip
        if not wrong:
            findings.append(
                Finding(check=f"version of {package}", state="ok", there=mine, limit="the same everywhere")
            )
    return findings


def gpus(facts: Facts, counted: dict[str, int], fleet: Fleet) -> list[Finding]:
    """Whether Ray counts the GPUs that the driver lists, each node that works has enough, and all are of one kind."""
    findings = []
    for node, said in facts.items():
        listed, ray = len(said["gpus"]), counted[node]
        if listed != ray:
            findings.append(
                judged(
                    "GPUs", node, bad=True, there=f"{listed} by nvidia-smi, {ray} by Ray", limit="equal",
                    fix=f"start Ray there with --num-gpus={listed}, or mend the driver",
                )
            )  # fmt: skip
        elif fleet.gpu and ray:  # a head without GPUs trains nothing
            findings.append(
                judged(
                    "GPUs", node, bad=ray < fleet.workers_per_node, there=f"{ray} x {said['gpus'][0]}",
                    limit=f"{fleet.workers_per_node} or more", fix="another fleet, or mend the machine",
                )
            )  # fmt: skip
    kinds = Counter(name for said in facts.values() for name in said["gpus"])
    if len(kinds) > 1:
        there = ", ".join(f"{count} x {name}" for name, count in sorted(kinds.items()))
        findings.append(
            judged(
                "GPUs", EVERYWHERE, bad=False, warn=True, there=there, limit="of one kind",
                fix="a step is as fast as the slowest of them; train on equal machines",
            )
        )  # fmt: skip
    return findings


def limits(facts: Facts) -> list[Finding]:
    """Open files and shared memory of every node."""
    findings = []
    for node, said in facts.items():
        files, shared = said["open_files"], said["shared_memory"]
        findings.append(
            judged(
                "open files", node, bad=files < OPEN_FILES // 16, warn=files < OPEN_FILES, there=f"{files:,}",
                limit=f"{OPEN_FILES:,}, and at least {OPEN_FILES // 16:,}",
                fix=f"`ulimit -n {OPEN_FILES}` before `ray start`",
            )
        )  # fmt: skip
        findings.append(
            judged(
                "shared memory", node, bad=shared < LEAST_SHARED, warn=shared < SHARED_OF_MEMORY * said["memory"],
                there=f"{shared / GIB:.1f} GiB in /dev/shm",
                limit=f"{SHARED_OF_MEMORY:.0%} of {said['memory'] / GIB:.0f} GiB, at least {LEAST_SHARED // GIB} GiB",
                fix="docker: --shm-size or --ipc=host; a pod: an emptyDir of medium Memory at /dev/shm",
            )
        )  # fmt: skip
    return findings


def clocks(skews: dict[str, float], unsure: dict[str, float]) -> list[Finding]:
    """How far each node's clock is from this machine's, in seconds; `unsure` is half of what asking took."""
    return [
        judged(
            "clock", node, bad=abs(skew) - unsure[node] > SKEW_BAD, warn=abs(skew) - unsure[node] > SKEW_WARN,
            there=f"{skew:+.2f} ± {unsure[node]:.2f} s", limit=f"within {SKEW_WARN:g} s, {SKEW_BAD:g} s at most",
            fix="run chrony or systemd-timesyncd there",
        )
        for node, skew in skews.items()
    ]  # fmt: skip


def cache_disk(facts: Facts, needed: int) -> list[Finding]:
    """Whether the disk of the shards' cache holds what an epoch reads on a node: `needed` bytes, 0 where none is."""
    return [
        judged(
            "disk for the cache", node, bad=said["cache_free"] < GIB, warn=said["cache_free"] < needed,
            there=f"{said['cache_free'] / GIB:.1f} GiB free in {said['cache']}",
            limit=f"{needed / GIB:.1f} GiB to fetch each shard once" if needed else "1 GiB",
            fix="TMPDIR moves the cache to a larger disk, before `ray start`",
        )
        for node, said in facts.items()
    ]  # fmt: skip
