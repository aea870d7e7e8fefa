"""What an epoch asks of S3: GETs and bytes of 1, 2 and 4 nodes with a cache each, counted in front of a real server."""

import logging
import math
import multiprocessing
import os
import shutil
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from conditions import spread, table, tell

from data_shards.order import Order, Shape
from data_shards.pack import PackOptions, pack
from data_shards.reader import files_of
from data_shards.restart import available
from data_shards.shardset import MANIFEST, Shard, load_shardset
from data_shards.synth import SynthOptions, synth

sys.path.append(str(Path(__file__).parent.parent / "tests" / "data_shards"))
from fault_proxy import FaultProxy, Seen

NODES, RANKS, REPEATS = (1, 2, 4), 2, 3
"""Nodes, and ranks on each."""

PICTURES = SynthOptions(classes=8, images=512, val_images=1, size=32)
PER_SHARD, GLOBAL_BATCH = 16, 64
RANGE = 1 << 14
"""Bytes of a range here: a shard of these small pictures has several, as one of ImageNet has 14 of 8 MiB."""

SHAPES = {"one stream": Shape(1, 4_096), "16 streams": Shape(16, PER_SHARD)}
"""How orders mix: all at once, as sets of up to 2**17 samples do, and in streams, as ImageNet's."""

URL = "s3://bucket/set"


class Job(NamedTuple):
    """One rank of an epoch: where it reads, and by which way."""

    endpoint: str
    cache: str
    shape: Shape
    rank: int
    world: int


def measure(scratch: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Every shape and number of nodes, each with empty caches, and all ranks at once."""
    from moto.server import ThreadedMotoServer

    os.environ.update(AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x", AWS_DEFAULT_REGION="us-east-1")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # or it tells every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/bucket", method="PUT")).close()
    os.environ["AWS_ENDPOINT_URL"] = endpoint
    synth(scratch / "images", PICTURES, 2, lambda *_: None)
    options = PackOptions(name="bench", samples_per_shard=PER_SHARD, restart_markers=available() or None)
    pack(scratch / "images", URL, options, 2, 0.0, lambda *_: None)
    shards = load_shardset(URL).split("train").shards
    raw: dict[str, dict[str, list[dict[str, float]]]] = {
        title: {str(nodes): [] for nodes in NODES} for title in SHAPES
    }
    for turn in range(REPEATS):
        for title, shape in SHAPES.items():
            for nodes in NODES:
                raw[title][str(nodes)].append(epoch(scratch / "cache", endpoint, shards, shape, nodes))
        say(f"round {turn + 1} of {REPEATS}")
    server.stop()
    return {
        "settings": {
            "repeats": REPEATS, "ranks": RANKS, "samples": sum(shard.samples for shard in shards),
            "shards": len(shards), "set_mb": sum(size for shard in shards for _, size, _ in files_of(shard)) / 1e6,
            "range": RANGE,
            "global_batch": GLOBAL_BATCH, "restart_markers": available(),
        },
        "raw": raw,
        "medians": {
            title: {nodes: {key: spread([row[key] for row in told]) for key in told[0]} for nodes, told in rows.items()}
            for title, rows in raw.items()
        },
    }  # fmt: skip


def epoch(
    caches: Path, endpoint: str, shards: tuple[Shard, ...], shape: Shape, nodes: int
) -> dict[str, float]:
    """One epoch of all ranks, each node's requests through a proxy of its own: what a node asks for, on average."""
    world = nodes * RANKS
    with ExitStack() as ends:
        proxies = [ends.enter_context(FaultProxy(endpoint, lambda *_: None)) for _ in range(nodes)]
        jobs = [
            Job(proxies[rank // RANKS].url, str(caches / str(rank // RANKS)), shape, rank, world)
            for rank in range(world)
        ]
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["data_shards.loader"])
        with ProcessPoolExecutor(world, mp_context=context) as ranks:
            list(ranks.map(read_epoch, jobs))
    counts = []
    for node, proxy in enumerate(proxies):
        names = wanted(shards, shape, node, nodes)
        counts.append(
            count(proxy.gets, names) | {"due": due(shard for shard in shards if shard.name in names)}
        )
    shutil.rmtree(caches)
    return {key: sum(told[key] for told in counts) / nodes for key in counts[0]}


def read_epoch(job: Job) -> None:
    """A rank, in a process of its own: all its batches of one epoch."""
    from data_shards import fetch, order
    from data_shards.loader import train_batches
    from data_shards.training import alone
    from data_shards.view import View

    fetch.RANGE, os.environ["AWS_ENDPOINT_URL"] = RANGE, job.endpoint
    order.default_shape = lambda _: job.shape
    shardset = load_shardset(URL)
    batches = train_batches(
        training=alone(URL, shardset, "train"), view=View(image_size=32), seed=0, global_batch=GLOBAL_BATCH,
        micro_batch=GLOBAL_BATCH // job.world, rank=job.rank, world=job.world, samples_seen=0,
        cache=Path(job.cache),
    )  # fmt: skip
    for _ in islice(batches, shardset.split("train").samples // GLOBAL_BATCH):
        pass
    batches.close()


def wanted(shards: tuple[Shard, ...], shape: Shape, node: int, nodes: int) -> set[str]:
    """The names of the shards that a node's ranks read in the first epoch: what one rank of as many nodes would."""
    order = Order([shard.samples for shard in shards], 0, shape)
    firsts = range(0, order.samples, GLOBAL_BATCH)
    slots = np.concatenate([order.share(first, GLOBAL_BATCH, node, nodes) for first in firsts])
    return {shards[number].name for number in np.unique(order.locate(slots)[0])}


def due(shards: Iterable[Shard]) -> int:
    """The GETs that fetch these shards' files, each once."""
    return sum(math.ceil(size / RANGE) for shard in shards for _, size, _ in files_of(shard))


def count(asked: list[Seen], names: set[str]) -> dict[str, float]:
    """A node's GETs of the files of shards: of those that the epoch reads, and of others, which are fetched ahead.

    The manifest, which every rank reads once, is not among them.
    """
    ours = Counter((get.path, get.range) for get in asked if Path(get.path).stem in names)
    every = [get for get in asked if not get.path.endswith(MANIFEST)]
    spans = [get_range.removeprefix("bytes=").split("-") for _, get_range in ours.elements()]
    return {
        "shards": len(names),
        "gets": ours.total(),
        "twice": ours.total() - len(ours),
        "mb": sum(int(last) + 1 - int(first) for first, last in spans) / 1e6,
        "ahead": len(every) - ours.total(),
    }


def page(result: dict[str, Any]) -> str:
    """The table of orders and nodes."""
    settings = result["settings"]
    rows = [
        [title, nodes, str(int(nodes) * settings["ranks"]),
         *(tell(row[key], 0) for key in ("shards", "due", "gets", "twice")),
         tell(row["mb"], 1), tell(row["ahead"], 0), f"{int(nodes) * row['gets']['median']:,.0f}"]
        for title, told in result["medians"].items()
        for nodes, row in told.items()
    ]  # fmt: skip
    header = [
        "order", "nodes", "ranks", "shards a node reads", "GETs that these take", "GETs counted", "of them twice",
        "MB of a node", "GETs ahead, for the next epoch", "GETs of all nodes for this one",
    ]  # fmt: skip
    kinds = "tar, index and segment lengths" if settings["restart_markers"] else "tar and index"
    return f"""## What an epoch asks of S3

{table(header, rows)}

How: the first epoch of {settings["samples"]:,} small pictures in {settings["shards"]} shards ({kinds}),
{settings["set_mb"]:.1f} MB in all, from moto's server on this machine; ranges of {settings["range"] // 1024} KiB, so
that a shard has several; a global batch of {settings["global_batch"]}. The {settings["ranks"]} ranks of a node are
processes that share its cache, which is empty at first; a proxy before the server counts each node's requests, and
bytes are those of their ranges. {settings["repeats"]} rounds; numbers are the mean of the nodes. One stream is how sets
of up to 131,072 samples are mixed: every node reads all. In streams, as ImageNet is, nodes divide the shards. Each rank
also reads the manifest, by one GET.

Not shown: a cache that is too small for what a node reads, so that it fetches some again in the next epoch; and time
(see `faults`)."""
