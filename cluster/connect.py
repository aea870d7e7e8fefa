"""Connecting to Ray: a running cluster, or one on this machine for the time of a command."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import ray
import ray._private.worker
from ray._private.state import state  # no public call tells which nodes are draining

from cluster.errors import REFUSED, ClusterError, ClusterUsageError
from cluster.gcs import call, own_token
from cluster.private import nobody_else
from cluster.tokens import refuse_open
from cluster.variables import variables

ANSWER_SECONDS = 10
BETWEEN_LOOKS = 2.0  # seconds


def joins(address: str | None) -> bool:
    """Whether `connected` will join a cluster that runs already, and not the one that this process is in."""
    return not ray.is_initialized() and _target(address) != "local"


def _target(address: str | None) -> str:
    return address or os.environ.get("RAY_ADDRESS") or "local"


@contextmanager
def connected(address: str | None, environment: dict[str, str]) -> Iterator[None]:
    """Be connected to the cluster at `address`, to RAY_ADDRESS's (a submitted job's own), or to a new local one.

    `environment` is set for every process of this job, and for this one while it is connected. A connection that exists
    already is used and kept. Into a new local one nobody else gets, neither from other machines nor as another user.
    Raises ClusterError where nothing answers, or where the token is refused.
    """
    if ray.is_initialized():
        yield
        return
    target = _target(address)
    _refuse_silence(target)
    patience = os.environ.get("RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT", "120")
    # Ray Train hands the driver's own RAY_TRAIN_* settings to its controller
    own = {"RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT": patience, **environment}
    # whatever log_to_driver is, Ray prints a lost host's last log lines among the results: its losses are told by us
    ray._private.worker.print_to_stdstream = lambda *_, **__: None
    with variables(own), nobody_else() if target == "local" else nullcontext():
        _join(target, environment)
        try:
            yield
        finally:
            ray.shutdown()


def _join(target: str, environment: dict[str, str]) -> None:
    try:
        ray.init(
            address=target,
            runtime_env={"env_vars": environment},
            log_to_driver=False,
            logging_level="ERROR",
            **({"include_dashboard": False} if target == "local" else {}),
        )
    except ConnectionError as error:
        raise ClusterError(
            f"no Ray cluster answers at {target}: {error}. Start one, or leave --address away"
        ) from None
    except ray.exceptions.AuthenticationError:
        raise ClusterError(REFUSED.format(address=target)) from None
    except RuntimeError as error:  # another Ray or Python there than here
        raise ClusterError(f"{target} is of another version. {_flat(error)}") from None
    except ValueError as error:  # no address at all, or the URL of the Jobs API
        raise ClusterUsageError(
            f"--address {target}: a command joins a cluster at host:6379, or at 'auto' on one of its nodes; "
            "http://host:8265 is for `raytrain cluster submit`, status, logs and stop. Ray said: "
            + str(error).partition(". ")[0]
        ) from None


def _refuse_silence(target: str) -> None:
    """Ray itself tries a host that does not answer for minutes, and one that asks nobody for a token."""
    host, colon, port = target.rpartition(":")
    if not (colon and port.isdecimal()) or "/" in host:
        return
    refuse_open(host, target)
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
    except OSError as error:
        raise ClusterError(
            f"no Ray cluster answers at {target}: {error.strerror or error}. Start one, or leave --address away"
        ) from None
    if call(target, own_token()) == "refused":
        raise ClusterError(REFUSED.format(address=target))


def _flat(error: BaseException) -> str:
    return " ".join(str(error).split())


def check_room(workers: int, cpus: int, gpu: bool) -> None:
    """Refuse at once what the cluster can never hold; Ray alone would wait for ever. Raises ClusterError."""
    fits = room_in_time(workers, cpus, gpu)
    if fits >= workers:
        return
    nodes = _nodes()
    have = ", ".join(f"{node.get('CPU', 0):g} CPU + {node.get('GPU', 0):g} GPU" for node in nodes)
    need = f"{cpus} CPU" + (" + 1 GPU" if gpu else "")
    fewer = f"--workers {fits}, " if fits else ""
    raise ClusterError(
        f"{workers} worker{'s' if workers > 1 else ''} of {need} each do not fit: the cluster has {len(nodes)} node(s) "
        f"({have}), room for {fits}. Use {fewer}a fleet whose workers need less, or a larger cluster"
    )


def room_in_time(workers: int, cpus: int, gpu: bool) -> int:
    """The room there is; where machines are still starting, once they are there.

    Flavours `vms` and `slurm` say how many seconds to wait at most, in RAYTRAIN_WAIT_FOR_NODES.
    """
    until = time.monotonic() + float(os.environ.get("RAYTRAIN_WAIT_FOR_NODES", "0"))
    while (fits := room(cpus, gpu)) < workers and time.monotonic() < until:
        time.sleep(BETWEEN_LOOKS)
    return fits


def room(cpus: int, gpu: bool) -> int:
    """How many workers of `cpus` CPUs, and a GPU each where `gpu`, the whole cluster holds when it is empty.

    Hosts that are about to be taken away (drained) hold none.
    """
    return sum(_fit(node, cpus, gpu) for node in _nodes())


def hosts(cpus: int, gpu: bool) -> list[str]:
    """The names of the hosts that hold such a worker, in order."""
    return sorted(node["NodeManagerHostname"] for node in _alive() if _fit(node["Resources"], cpus, gpu))


def _nodes() -> list[dict[str, float]]:
    return [node["Resources"] for node in _alive()]


def _alive() -> list[dict[str, Any]]:
    leaving = state.get_draining_nodes()
    return [node for node in ray.nodes() if node["Alive"] and node["NodeID"] not in leaving]


def _fit(node: dict[str, float], cpus: int, gpu: bool) -> int:
    by_cpu = int(node.get("CPU", 0) // cpus)
    return min(by_cpu, int(node.get("GPU", 0))) if gpu else by_cpu
