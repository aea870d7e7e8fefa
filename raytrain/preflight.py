"""Preflight: whether every node reads the data and writes the run's folder, and has the disk for both.

What needs no data is `cluster/doctor/`'s. `raytrain cluster doctor` asks all of it; before a run on a cluster that it
joins, the driver asks what takes seconds.
"""

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

from cluster.doctor.examine import quick
from cluster.doctor.finding import Finding, judged, many, refuse
from cluster.doctor.nodes import Node, Nodes, all_nodes
from data_shards.mix import Data, Mix, load_data
from data_shards.shardset import Shard, ShardSet
from data_shards.store import NotFoundError, open_store
from raytrain.job import Job
from raytrain.manifest import KEEP_CHECKPOINTS

STORE_SECONDS = 120.0
SAMPLED = 2
"""Indexes that each node reads whole, drawn anew for each."""

Sample = tuple[str, str, str]
"""(URL of the set, key, sha256) of a file."""


def before_run(job: Job, begun: bool, say: Callable[[str], None]) -> None:
    """The checks that take seconds. Raises ClusterError with all that is bad.

    A run that has `begun` goes on with the nodes that there are: one that does not answer is no reason then.
    """
    traffic = job.plan.estimates.traffic
    with all_nodes() as nodes:
        facts, found = quick(nodes, traffic.node_bytes if traffic else 0)
        there = nodes.only(*(node for node in nodes.nodes if node.name in facts))
        found += storage(there, job.place) + shards(there, job.data_url, seed=0, whole=False)
    found += checkpoint_disk(job.plan.estimates.checkpoint_bytes, job.place)
    for one in found:
        if one.state == "warn":
            say(one.line)
    refuse([one for one in found if not (begun and one.check == "answer")])


def storage(nodes: Nodes, place: str) -> list[Finding]:
    """Whether each node writes under `place`, and reads what every other one wrote there."""
    key = f".doctor-{secrets.token_hex(4)}"
    fix = "name a disk that all nodes mount, or s3://bucket/run, and let every node write there"
    names = [node.name for node in nodes.nodes]
    wrote = nodes.ask(write_mark, lambda node: (place, f"{key}/{names.index(node.name)}"), STORE_SECONDS)
    marks = [f"{key}/{names.index(name)}" for name in wrote.said]
    read = nodes.ask(missing_marks, lambda _: (place, marks), STORE_SECONDS)
    removed = nodes.ask(remove_marks, lambda _: (place, marks), STORE_SECONDS)
    found = wrote.findings("storage", fix) + read.findings("storage", fix) + removed.findings("storage", fix)
    for node, lacks in read.said.items():
        others = [names[int(mark.rpartition("/")[2])] for mark in lacks]
        found += [
            judged("storage", node, bad=True, there=f"does not see in {place} what {', '.join(others)} wrote there",
                   limit="one place for all nodes", fix=fix)
        ] if others else []  # fmt: skip
    return found or [
        Finding(
            check="storage",
            state="ok",
            there=f"{place}, written and read on {many(len(names), 'node')}",
            limit="all nodes",
        )
    ]


def write_mark(place: str, key: str) -> None:
    """On a node: write a few bytes."""
    open_store(place).write(key, key.encode())


def missing_marks(place: str, keys: list[str]) -> list[str]:
    """On a node: those of the marks that are not there as they were written."""
    store, missing = open_store(place), []
    for key in keys:
        try:
            if store.read(key) != key.encode():
                missing.append(key)
        except NotFoundError:
            missing.append(key)
    return missing


def remove_marks(place: str, keys: list[str]) -> None:
    """On a node: take them away; on a disk of its own it has its own ones."""
    for key in keys:
        open_store(place).delete(key)


def shards(nodes: Nodes, url: str, seed: int, whole: bool) -> list[Finding]:
    """Whether each node sees these shards, and files drawn for it have their digests; with `whole` one tar, too."""
    fix = "put the set where every node sees it (S3, or a disk that all mount), and `raytrain data verify` it"
    data = load_data(url)
    draws = {
        node.name: drawn(parts(url, data), Random(f"{seed} {node.name}"), whole)  # noqa: S311 -- a sample, no secret
        for node in nodes.nodes
    }

    def arguments(node: Node) -> tuple[str, list[Sample]]:
        return url, draws[node.name]

    seen = nodes.ask(read_sample, arguments, STORE_SECONDS)
    found = seen.findings("shards", fix)
    for node, (fingerprint, wrong) in seen.said.items():
        if fingerprint != data.fingerprint:
            wrong = [f"another version of the set ({fingerprint[:12]})", *wrong]
        found += [
            judged(
                "shards",
                node,
                bad=True,
                there=problem,
                limit=f"{data.name} ({data.fingerprint[:12]})",
                fix=fix,
            )
            for problem in wrong
        ]
    files = sum(len(draw) for draw in draws.values())
    there = f"{data.name} ({data.fingerprint[:12]}), {many(files, 'file')} read on {many(len(draws), 'node')}"
    return found or [Finding(check="shards", state="ok", there=there, limit="the same set, with its digests")]


def parts(url: str, data: Data) -> list[tuple[str, ShardSet]]:
    """The sets of what `--data` names, and where they are."""
    if isinstance(data, Mix):
        return [(part.url, part.shardset) for part in data.training.parts]
    return [(url, data)]


def cache_bytes(data_url: str, nodes: int) -> int:
    """What each node fetches of the sets that lie in S3, where nodes share the shards evenly."""
    remote = [held for url, held in parts(data_url, load_data(data_url)) if url.startswith("s3://")]
    return (
        sum(shard.bytes for held in remote for split in held.splits.values() for shard in split.shards)
        // nodes
    )


def drawn(sets: list[tuple[str, ShardSet]], rng: Random, whole: bool) -> list[Sample]:
    """The files that a node is to read: SAMPLED indexes of each set, and with `whole` one tar."""
    chosen: list[Sample] = []
    for url, shardset in sets:
        every: list[Shard] = [shard for split in shardset.splits.values() for shard in split.shards]
        picked = rng.sample(every, min(SAMPLED, len(every)))
        chosen += [(url, shard.index_key, shard.index_sha256) for shard in picked]
        chosen += [(url, shard.tar_key, shard.sha256) for shard in picked[: int(whole)]]
    return chosen


def read_sample(url: str, files: list[Sample]) -> tuple[str, list[str]]:
    """On a node: the fingerprint of what is at `url`, and which of the files are not as they should be."""
    wrong = []
    for place, key, sha256 in files:
        if hashlib.sha256(open_store(place).read(key)).hexdigest() != sha256:
            wrong.append(f"{place}/{key} has not its digest")
    return load_data(url).fingerprint, wrong


def checkpoint_disk(checkpoint: int, place: str) -> list[Finding]:
    """Whether a disk holds the checkpoints that are kept, and the one that is being written. S3 has no end."""
    if "://" in place:
        return []
    folder = next(folder for folder in (Path(place), *Path(place).parents) if folder.is_dir())
    free, needed = shutil.disk_usage(folder).free, (KEEP_CHECKPOINTS + 2) * checkpoint
    there, fix = f"{free / 2**30:.1f} GiB free", "make room there, or another --out"
    limit = f"{needed / 2**30:.1f} GiB: {KEEP_CHECKPOINTS} kept, the best, one on its way"
    return [
        judged(
            "disk for checkpoints", os.uname().nodename, bad=free < needed, there=there, limit=limit, fix=fix
        )
    ]
