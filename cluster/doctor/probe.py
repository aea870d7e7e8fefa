"""What is looked at on a node. This file travels there as source: a node with another raytrain, or none, answers too.

So it imports the standard library only, and gives back plain values.
"""

import hashlib
import importlib.util
import os
import platform
import resource
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("ray", "torch", "deepspeed")
ROOMS = ("cluster", "data_shards", "raytrain", "tuning")


class Probe:
    """An actor that does on its node what it is told."""

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call the function there."""
        return function(*arguments)


def look() -> dict[str, Any]:
    """Versions, GPUs, limits and room of this machine. Sizes in bytes."""
    shared, cache = shutil.disk_usage("/dev/shm"), shutil.disk_usage(tempfile.gettempdir())  # noqa: S108
    return {
        "versions": versions(),
        "gpus": gpus(),
        "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "shared_memory": shared.total,
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "cache": tempfile.gettempdir(),
        "cache_free": cache.free,
    }


def versions() -> dict[str, str]:
    """The version of Python and of each package; raytrain's is a digest of its source, which checkouts change."""
    found = {"python": platform.python_version(), "raytrain": source_digest()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "none"
    return found


def source_digest() -> str:
    """12 hex digits of the sha256 of all our source files, "none" where a room is missing. Imports nothing of it."""
    digest = hashlib.sha256()
    for room in ROOMS:
        spec = importlib.util.find_spec(room)
        if spec is None or not spec.submodule_search_locations:
            return "none"
        root = Path(spec.submodule_search_locations[0])
        for file in sorted(root.rglob("*.py")):
            digest.update(file.relative_to(root.parent).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def gpus() -> list[str]:
    """The names of the GPUs that the driver lists; none where there is no driver."""
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return []
    return listed.stdout.split("\n")[:-1]


def clock() -> float:
    """Seconds since 1970, as this machine has it."""
    return time.time()


def answer(address: str) -> int:
    """Answer one byte by itself to whoever connects, for as long as the actor lives; the port on `address`."""
    server = socket.create_server((address, 0), backlog=1024)

    def serve() -> None:
        while True:
            with server.accept()[0] as peer:
                peer.settimeout(10)
                try:
                    peer.sendall(peer.recv(1))
                except OSError:  # it gave up
                    continue

    threading.Thread(target=serve, daemon=True).start()
    return int(server.getsockname()[1])


def knock(peers: dict[str, tuple[str, int]], seconds: float) -> dict[str, str]:
    """Connect to each peer, send a byte and have it back; what was wrong, by the peers' names."""
    problems = {}
    for name, place in peers.items():
        try:
            with socket.create_connection(place, timeout=seconds) as peer:
                peer.sendall(b"?")
                if peer.recv(1) != b"?":
                    problems[name] = f"{place[0]}:{place[1]} answered something else"
        except OSError as error:
            problems[name] = f"{place[0]}:{place[1]}: {error.strerror or error}"
    return problems


def all_reduce(backend: str, address: str, port: int, rank: int, world: int, seconds: float) -> float:
    """Sum rank + 1 over all nodes by torch.distributed, on the GPU for nccl."""
    from datetime import timedelta

    import torch
    import torch.distributed as dist

    dist.init_process_group(
        backend, init_method=f"tcp://{address}:{port}", rank=rank, world_size=world,
        timeout=timedelta(seconds=seconds),
    )  # fmt: skip
    try:
        number = torch.tensor([rank + 1.0], device="cuda" if backend == "nccl" else "cpu")
        dist.all_reduce(number)
        return float(number.item())
    finally:
        dist.destroy_process_group()


def free_port(address: str) -> int:
    """A port that nobody listens on now."""
    with socket.create_server((address, 0)) as held:
        return int(held.getsockname()[1])
