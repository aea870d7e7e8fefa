"""A folder for each process of a run in S3: what it writes there is sent (`remote.py`), and goes with the process."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory, gettempdir

from data_shards.errors import DataError
from raytrain.claim import run_lock
from raytrain.errors import RunError
from raytrain.job import Job

PREFIX = "raytrain-run-"
LOCKED_SECONDS = 60  # a folder as old as this has been locked by its process, if that lives


@contextmanager
def workplace(job: Job) -> Iterator[Job]:
    """The job with a folder for this process: the run's, or while this lasts a new one, where the run lies in S3."""
    if not job.remote:
        yield job
        return
    sweep()
    with TemporaryDirectory(prefix=PREFIX) as folder, run_lock(Path(folder)):
        yield job.model_copy(update={"run": folder})


def sweep(now: Callable[[], float] = time.time) -> None:
    """Remove the folders of processes that were killed: nobody holds their locks."""
    for folder in Path(gettempdir()).glob(f"{PREFIX}*"):
        with suppress(RunError, DataError, OSError):  # at work, or another user's
            if folder.stat().st_mtime < now() - LOCKED_SECONDS:
                with run_lock(folder):
                    rmtree(folder)
