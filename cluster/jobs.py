"""Jobs: a `raytrain` command on a running Ray cluster, through the Ray Jobs API of its head node.

Ray reads the token itself: RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN, else the file RAY_AUTH_TOKEN_PATH, else
~/.ray/auth_token.
"""

import asyncio
import logging
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from cluster.errors import REFUSED, ClusterError, ClusterUsageError
from cluster.tokens import refuse_open

if TYPE_CHECKING:
    from ray.job_submission import JobDetails

ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
BETWEEN_STREAMS = 1.0  # seconds
QUIET = (
    "ray.dashboard.modules.job.sdk",
    "ray.dashboard.modules.dashboard_sdk",
    "ray._private.runtime_env.packaging",
)
"""Ray's loggers that tell of a client's calls, and of every package that it sends."""
WHAT_TO_DO = {
    "already exists": "the cluster has had a job of that name: submit with another --name; with the same --out a "
    "run goes on",
    "No available agent": "its head has no agent for jobs. Does another Ray on that machine hold its port, 52365? "
    "`ray start --dashboard-agent-listen-port` takes another",
}
"""By what is in a refusal of Ray's: what it means."""


class Submission(BaseModel):
    """What is sent to the cluster: a job's id, its shell command, and the folder it runs in there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    entrypoint: str
    working_dir: str | None
    address: str

    @property
    def argv(self) -> list[str]:
        """A command that does the same: `ray job submit`, or Ray's client where that would lose a quotation mark.

        `ray job submit` joins its words as Windows does (ray/dashboard/modules/job/cli.py, `list2cmdline`) and hands
        them to a shell: a `;` or `$` in a word would be run.
        """
        words = shlex.split(self.entrypoint)
        if subprocess.list2cmdline(words) == self.entrypoint:
            folder = ["--working-dir", self.working_dir] if self.working_dir else []
            head = [
                "ray",
                "job",
                "submit",
                "--no-wait",
                "--address",
                self.address,
                "--submission-id",
                self.id,
            ]
            return [*head, *folder, "--", *words]
        environment = {"working_dir": self.working_dir} if self.working_dir else {}
        call = f"submit_job(entrypoint={self.entrypoint!r}, submission_id={self.id!r}, runtime_env={environment!r})"
        client = f"from ray.job_submission import JobSubmissionClient as C; C({self.address!r}).{call}"
        return ["python", "-c", client]

    @property
    def command(self) -> str:
        """The same, to be typed."""
        return shlex.join(self.argv)


class JobState(BaseModel):
    """What the cluster says of a job; times are seconds since 1970, None where there is none yet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    status: str
    message: str
    entrypoint: str
    started: float | None
    ended: float | None
    exit_code: int | None

    @property
    def line(self) -> str:
        """The state in one line: Ray's message goes on with the end of the log."""
        return f"{self.id}  {self.status}  {self.message.partition(', last available logs')[0]}"


class Jobs:
    """The jobs of one cluster. Every method raises ClusterError where the cluster refuses or is not there."""

    def __init__(self, address: str) -> None:
        from ray.job_submission import JobSubmissionClient

        for talks in QUIET:
            logging.getLogger(talks).setLevel(logging.ERROR)
        if not address.startswith(("http://", "https://")):
            raise ClusterUsageError(
                f"--address {address}: the Jobs API has a URL, such as http://127.0.0.1:8265"
            )
        refuse_open(urlsplit(address).hostname or "", address)
        self.address = address
        with self._told():
            self.client = JobSubmissionClient(address)

    def submit(self, job: Submission) -> None:
        """Start the job. Raises ClusterError where the cluster knows the id already."""
        environment = {"working_dir": job.working_dir} if job.working_dir else {}
        with self._told():
            self.client.submit_job(entrypoint=job.entrypoint, submission_id=job.id, runtime_env=environment)

    def state(self, job: str) -> JobState:
        """One job's state."""
        with self._told(job):
            return _state(self.client.get_job_info(job))

    def states(self) -> list[JobState]:
        """The state of all submitted jobs, oldest first."""
        with self._told():
            found = [_state(info) for info in self.client.list_jobs() if info.submission_id]
        return sorted(found, key=lambda state: state.started or 0)

    def logs(self, job: str) -> str:
        """What a job has printed until now."""
        with self._told(job):
            return str(self.client.get_job_logs(job))

    def follow(
        self, job: str, write: Callable[[str], None], wait: Callable[[float], None] = time.sleep
    ) -> JobState:
        """Write all that a job has printed and prints until it ends; returns its last state."""
        written = 0

        async def tail() -> None:
            nonlocal written
            at = 0  # each stream begins with the log's first character
            async for text in self.client.tail_job_logs(job):
                write(text[max(0, written - at) :])
                at += len(text)
                written = max(written, at)

        while True:
            state = self.state(job)
            with self._told(job):
                asyncio.run(tail())
            if state.status in ENDED:
                return state
            wait(BETWEEN_STREAMS)  # it ends with the job, or early where a proxy cuts it

    def stop(self, job: str) -> bool:
        """Ask a job to end; whether it was running. Ray sends SIGTERM, then kills."""
        with self._told(job):
            return bool(self.client.stop_job(job))

    @contextmanager
    def _told(self, job: str | None = None) -> Iterator[None]:
        """Turn what the client raises into a ClusterError that says what to do."""
        from aiohttp import ClientError
        from ray.exceptions import AuthenticationError
        from requests import RequestException

        try:
            yield
        except AuthenticationError:
            raise ClusterError(REFUSED.format(address=self.address)) from None
        except (ConnectionError, RequestException, ClientError):
            raise ClusterError(
                f"no Ray cluster answers at {self.address}. Forward its dashboard's port, e.g. "
                "`ssh -L 8265:127.0.0.1:8265 HEAD`, and name it with --address"
            ) from None
        except RuntimeError as error:
            if job is not None and "404" in str(error):
                raise ClusterError(
                    f"{self.address} knows no job '{job}'; `raytrain cluster status` lists them"
                ) from None
            raise ClusterError(f"{self.address} refused: {_reason(error)}") from None


def _state(info: "JobDetails") -> JobState:
    return JobState(
        id=info.submission_id or info.job_id,
        status=str(info.status.value),
        message=info.message or "",
        entrypoint=info.entrypoint,
        started=info.start_time / 1000 if info.start_time else None,
        ended=info.end_time / 1000 if info.end_time else None,
        exit_code=info.driver_exit_code,
    )


def _reason(error: RuntimeError) -> str:
    """What to do, else the last line of what the cluster answered: before it stands its own traceback."""
    said = str(error).rstrip(" .\n").splitlines()[-1]
    return next((told for words, told in WHAT_TO_DO.items() if words in said), said)
