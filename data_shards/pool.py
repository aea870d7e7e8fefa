"""Many jobs over several processes: the one way that packing and synthesis use more than one core."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from data_shards.errors import DataError

Job = TypeVar("Job")
Result = TypeVar("Result")

OnDone = Callable[[int, int], None]
"""Is told how many more are done, of how many (0 where that is not known)."""


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def run_jobs(
    work: Callable[[Job], Result], jobs: Iterable[Job], workers: int, preload: str | None = None
) -> Generator[Result, None, None]:
    """Yield `work(job)` of every job, as they end. Closing the generator early drops those not begun.

    `preload` names a module that is slow to import: it is imported once, with that of `work`, and the workers are
    forked from there. Raises what `work` raises, and DataError when a worker dies.
    """
    context = multiprocessing.get_context("forkserver" if preload else "spawn")
    if preload:
        context.set_forkserver_preload([preload, work.__module__])
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(dict(os.environ),)
    )
    try:
        for future in as_completed([pool.submit(work, job) for job in jobs]):
            yield future.result()
    except BrokenProcessPool:
        raise DataError(
            "a worker process died: it was killed, or memory ran out. "
            "Run the same command again, with fewer --workers if it was memory: it continues where it stopped"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(environment: dict[str, str]) -> None:
    """Leave Ctrl-C to the parent, and end with it: after a kill -9 nothing may go on writing.

    A fork server keeps the environment of its own start; `environment` is the parent's of now (AWS_PROFILE ...).
    """
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
