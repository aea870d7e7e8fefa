"""Many jobs as tasks of a Ray cluster: what pool.py does with the processes of one machine."""

import os
import socket
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import ray
from ray.exceptions import AuthenticationError, RayError, RayTaskError

from data_shards.errors import DataError, DataUsageError
from data_shards.pool import Job, Result

KNOCK = 10.0
"""Seconds for the cluster's first answer."""


def run_tasks(
    work: Callable[[Job], Result], jobs: list[Job], workers: int | None, address: str
) -> Generator[Result, None, None]:
    """Yield `work(job)` of every job, as they end; at most `workers` at a time, None for one per CPU of the cluster.

    Each task takes one CPU. A task whose node dies is run again by Ray, so `work` must be able to begin anew.
    Closing the generator early drops the tasks not begun. Raises what `work` raises, and DataError where the
    cluster fails; DataUsageError where none answers. Every node must have this package and reach what jobs name.
    """
    with _connected(address):
        task = ray.remote(num_cpus=1)(work)
        most = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        waiting = iter(jobs)
        running: list[ray.ObjectRef] = []
        try:
            while True:
                running += [
                    task.remote(job) for _, job in zip(range(most - len(running)), waiting, strict=False)
                ]
                if not running:
                    return
                ended, running = ray.wait(running, num_returns=1)
                yield ray.get(ended[0])
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:
            raise DataError(
                f"the cluster lost a task: {str(error).splitlines()[0]} Run the same command again: it continues"
            ) from None
        finally:
            for reference in running:
                ray.cancel(reference)


@contextmanager
def _connected(address: str) -> Iterator[None]:
    """A connection that exists already is used and kept."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT", "120")
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, OSError, ValueError, AuthenticationError) as error:
        raise DataUsageError(
            f"no Ray cluster answers at {address}: {error}. Start one, give its token (RAY_AUTH_MODE=token, and "
            "RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to its file), or leave --address away"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """OSError where nothing listens; Ray itself tries for more than ten minutes before it says so.

    A cluster that others reach too is refused without a token, as everywhere (docs/security.md).
    """
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon:
        return
    if os.environ.get("RAY_AUTH_MODE") != "token" and not ip_address(socket.gethostbyname(host)).is_loopback:
        raise DataUsageError(
            f"others reach {address} too, and RAY_AUTH_MODE is not `token`: without a token Ray runs the commands of "
            "everyone who does. Start every node with RAY_AUTH_MODE=token and a token, and set both here "
            "(docs/clusters/address.md)"
        )
    socket.create_connection((host, int(port)), timeout=KNOCK).close()
