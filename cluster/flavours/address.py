"""`address`: a Ray cluster that runs already, through the Jobs API of its head."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

from cluster.errors import ClusterUsageError
from cluster.flavours.base import Command, Job, Rendered
from cluster.fleet import load_fleet
from cluster.jobs import Jobs, JobState, Submission

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class Address:
    """A running Ray cluster. Nothing of the job is kept on this machine."""

    def render(self, job: Job) -> Rendered:
        """The command that does the same. Raises ClusterUsageError for a bad name."""
        return Rendered(files={}, commands=(Command(argv=tuple(submission_of(job).argv)),))

    def submit(self, job: Job, folder: Path) -> None:  # noqa: ARG002
        """Through the Jobs API. Raises ClusterError where the cluster knows the id already."""
        Jobs(job.address).submit(submission_of(job))

    def status(self, job: Job, folder: Path) -> JobState:  # noqa: ARG002
        """What the cluster says."""
        return Jobs(job.address).state(job.name)

    def logs(self, job: Job, folder: Path, *, follow: bool, write: Callable[[str], None]) -> None:  # noqa: ARG002
        """What the job has printed."""
        jobs = Jobs(job.address)
        if follow:
            jobs.follow(job.name, write)
        else:
            write(jobs.logs(job.name))

    def stop(self, job: Job, folder: Path) -> str:  # noqa: ARG002
        """Ray sends SIGTERM, and kills 3 s later."""
        jobs = Jobs(job.address)
        if jobs.stop(job.name):
            return f"{job.name}: asked to stop"
        return f"{job.name}: had ended already ({jobs.state(job.name).status})"


def submission_of(job: Job) -> Submission:
    """The job as the Jobs API takes it. A fleet that the command would not assume anyway is handed on by `env`."""
    if not NAME.fullmatch(job.name):
        raise ClusterUsageError(
            f"--name {job.name!r}: 1 to 64 of a-z, 0-9, '.', '_' and '-', a letter or digit first"
        )
    told = [] if job.fleet == load_fleet("local") else ["env", f"RAYTRAIN_FLEET={job.fleet.inline}"]
    return Submission(
        id=job.name,
        entrypoint=shlex.join([*told, *job.command]),
        working_dir=job.working_dir,
        address=job.address,
    )
