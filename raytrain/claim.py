"""Whose a run's folder is: one plan's, and one process's at a time."""

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from data_shards.store import open_store
from data_shards.store.local import space_for
from raytrain.errors import RunError
from raytrain.job import Job
from raytrain.manifest import started_steps
from raytrain.plan import differences
from raytrain.runlog import JOB, PLAN, newest_steps, read_plan


def check_claim(run: Path, job: Job, others: Sequence[str] = ()) -> None:
    """Raise RunError where the folder holds another run, or other files; `others` lie where the run's folder does not.

    A plan that failed before its first step (on a damaged --init, say) holds nothing, and gives way.
    """
    _check_folder(run)
    if (run / PLAN).exists():
        changed = differences(read_plan(run), job.plan)
        if changed and (newest_steps(run, 1) or started_steps(open_store(job.place))):
            raise RunError(
                f"{job.remote or run} holds another run; the plans differ in\n  "
                + "\n  ".join(changed)
                + "\n"
                "Use another --out, or the same settings to continue it"
            )
    elif others := others or sorted(path.name for path in run.glob("[!.]*")):
        raise RunError(f"{job.remote or run} holds other files ({min(others)}, ...); use an empty --out")


def claim(job: Job) -> None:
    """Make the run's folder this job's."""
    store = open_store(job.run)
    store.write(PLAN, job.plan.model_dump_json(indent=1).encode())
    store.write(JOB, job.model_dump_json(include={"data_url"}).encode())


@contextmanager
def run_lock(run: Path) -> Iterator[None]:
    """Make the folder and hold it: a second driver on it is refused before it writes anything there."""
    _check_folder(run)
    with space_for(run, 0):
        run.mkdir(parents=True, exist_ok=True)
        file = (run / ".lock").open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"another raytrain is working on {run}; wait for it or stop it") from None
        yield


def _check_folder(run: Path) -> None:
    if run.exists() and not run.is_dir():
        raise RunError(f"{run} is a file; use a folder for --out")
