"""What transient faults of S3 cost: whole shards into the cache, with no faults and with one in twenty requests."""

import hashlib
import multiprocessing
import os
import random
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from conditions import spread, table, tell

sys.path.append(str(Path(__file__).parent.parent / "tests" / "data_shards"))
from fault_proxy import FaultProxy

SHARDS, REQUESTS, REPEATS = 36, 14, 7
"""A shard of ImageNet has 112 MB: 14 ranges of 8 MiB."""

RANGE = 1 << 18
"""Bytes of a range here. Few, so that the waiting is measured and not the speed of a busy machine at copying."""

RATE = 0.05
"""Part of the GETs that meet a fault."""

FIRST_BYTE, BODY = 0.1, 0.1
"""Seconds to the first byte, and from there to the last of a range: of the 0.1 to 0.2 s, and for 8 MiB of the 85 to 90
MB/s per connection, that Amazon names (S3 performance guidelines)."""

KINDS = ("slow_down", "internal", "reset", "reset_in_body", "truncated", "no_length")
WITHOUT_BODY = KINDS[:3]
CALM, FAULTY = "no faults", f"{RATE:.0%} of requests"


def measure(scratch: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Fetch the same shards through both proxies in turn. The servers run in a process of their own."""
    content = np.random.default_rng(0).bytes(REQUESTS * RANGE)
    sha256 = hashlib.sha256(content).hexdigest()
    os.environ.update(AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x", AWS_DEFAULT_REGION="us-east-1")
    raw: dict[str, dict[str, list[float]]] = {
        name: {"seconds": [], "requests": [], "faults": []} for name in (CALM, FAULTY)
    }
    with servers(content) as (urls, ask):
        for turn in range(-1, REPEATS):
            for name in sorted(raw, reverse=bool(turn % 2)):
                os.environ["AWS_ENDPOINT_URL"] = urls[name]
                seconds = fetch_all(scratch / "cache", sha256)
                requests, faults = ask(name)
                if turn >= 0:
                    raw[name]["seconds"].append(seconds)
                    raw[name]["requests"].append(requests / SHARDS)
                    raw[name]["faults"].append(faults / SHARDS)
            say(f"round {turn + 1} of {REPEATS}")
    added = [
        100 * (faulty / calm - 1)
        for faulty, calm in zip(raw[FAULTY]["seconds"], raw[CALM]["seconds"], strict=True)
    ]
    totals = {name: sum(rows["seconds"]) for name, rows in raw.items()}
    return {
        "settings": {
            "shards": SHARDS, "range": RANGE, "repeats": REPEATS, "rate": RATE, "first_byte": FIRST_BYTE, "body": BODY,
        },
        "raw": raw,
        "medians": {
            "rows": {name: {key: spread(told) for key, told in rows.items()} for name, rows in raw.items()},
            "added_percent": spread(added),
            "added_percent_of_all": 100 * (totals[FAULTY] / totals[CALM] - 1),
            "all_faults": sum(raw[FAULTY]["faults"]) * SHARDS,
        },
    }  # fmt: skip


def fetch_all(folder: Path, sha256: str) -> float:
    """Seconds to bring SHARDS shards into an empty cache, AT_ONCE at a time, as a rank's thread does."""
    from data_shards import fetch
    from data_shards.ahead import AT_ONCE
    from data_shards.cache import Cache

    fetch.RANGE = RANGE
    cache = Cache("s3://bucket/set", folder)
    began = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        names = [f"shards/{number}.tar" for number in range(SHARDS)]
        list(
            pool.map(lambda name: cache.fetch(name, REQUESTS * RANGE, sha256), names)
        )  # which checks the digest
    seconds = time.perf_counter() - began
    shutil.rmtree(folder)
    return seconds


@contextmanager
def servers(content: bytes) -> Any:
    """({name: endpoint}, a function that gives and forgets the (requests, faults) of an endpoint)."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(content, there))
    process.start()
    urls = here.recv()

    def ask(name: str) -> tuple[int, int]:
        here.send(name)
        answer: tuple[int, int] = here.recv()
        return answer

    yield urls, ask
    here.send(None)
    process.join()


def serve(content: bytes, pipe: Connection) -> None:
    """One object, whatever its name, behind a proxy for each row, until told to stop."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), answering(content))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    upstream, rng = f"http://127.0.0.1:{server.server_port}", random.Random(0)

    def plan(rate: float) -> str | None:
        fault = rng.choice(KINDS) if rng.random() < rate else None
        if fault in WITHOUT_BODY:  # what has a body waits for it at the server
            time.sleep(FIRST_BYTE)
        return fault

    with ExitStack() as stack:
        proxies = {
            name: stack.enter_context(FaultProxy(upstream, lambda *_, rate=rate: plan(rate)))
            for name, rate in ((CALM, 0.0), (FAULTY, RATE))
        }
        pipe.send({name: proxy.url for name, proxy in proxies.items()})
        while (name := pipe.recv()) is not None:
            seen = list(proxies[name].seen)
            proxies[name].seen.clear()
            pipe.send((len(seen), sum(request.fault is not None for request in seen)))
    server.shutdown()


def answering(content: bytes) -> type[BaseHTTPRequestHandler]:
    """As much of S3 as a ranged GET needs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"]).groups())
            time.sleep(FIRST_BYTE + BODY * (last + 1 - first) / RANGE)
            self.send_response(206)
            self.send_header("ETag", '"1"')
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
            self.send_header("Content-Length", str(last + 1 - first))
            self.end_headers()
            self.wfile.write(memoryview(content)[first : last + 1])

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def page(result: dict[str, Any]) -> str:
    """The table of both rows."""
    settings, medians = result["settings"], result["medians"]
    rows = [
        [name, tell(row["seconds"]), tell(row["requests"], 1), tell(row["faults"], 1)]
        for name, row in medians["rows"].items()
    ]
    header = ["faults", f"seconds for {settings['shards']} shards", "requests per shard", "faults per shard"]
    kib, first, body = settings["range"] // 1024, settings["first_byte"] * 1000, settings["body"] * 1000
    return f"""## Transient faults of S3

{table(header, rows)}

Added time, paired by round: {tell(medians["added_percent"], 1)} %; over all rounds together
{medians["added_percent_of_all"]:.1f} %, with {medians["all_faults"]:.0f} faults. Every digest was right.

How: shards of 14 ranges go from a server on this machine, through the proxy of the tests, into the shard cache,
three at a time over 8 connections: {settings["repeats"]} rounds, both rows in turn. A range has {kib} KiB and
takes {first:.0f} ms to its first byte and {body:.0f} ms from there, as Amazon names for 8 MiB; a refusal takes the
first of these. Faults are drawn evenly from {", ".join(KINDS)}.
The request for a shard's index is not counted.

Not shown: stalls, each of which costs the 15 s after which a silent connection is given up, on one connection of
eight; and S3 itself."""
