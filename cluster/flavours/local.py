"""`local`: this machine. The job is a process in the background, with a Ray of its own for as long as it runs."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from cluster.errors import ClusterError, ClusterUsageError
from cluster.flavours.base import RUN_TO_ITS_END, Command, Job, Rendered, check_name, write_private
from cluster.jobs import JobState

SCRIPT = (
    """\
#!/bin/sh
# raytrain job {name} on this machine. SIGTERM goes on to the run, which writes a checkpoint and ends with 75.
export RAYTRAIN_FLEET={fleet}
job=$(dirname "$(readlink -f "$0")")
cd {where} || exit
"""
    + RUN_TO_ITS_END
    + """\
echo "$code" > "$job/exit_code"
"""
)
BETWEEN_LOOKS = 0.5  # seconds


class Local:
    """A process of this machine."""

    def render(self, job: Job) -> Rendered:
        """A shell script. Raises ClusterUsageError for a fleet of several nodes."""
        check_name(job.name)
        if job.fleet.nodes > 1:
            raise ClusterUsageError(
                f"fleet '{job.fleet.name}' has {job.fleet.nodes} nodes and this is one machine: take a fleet with "
                "`nodes: 1`, or another flavour"
            )
        command = shlex.join([sys.executable, *job.command[1:]])
        text = SCRIPT.format(
            name=job.name,
            fleet=shlex.quote(job.fleet.inline),
            where=shlex.quote(job.working_dir or "."),
            command=command,
        )
        return Rendered(files={"run.sh": text}, commands=(Command(argv=("/bin/sh", "run.sh")),))

    def submit(self, job: Job, folder: Path) -> None:
        """Start the script in a session of its own; it outlives this command."""
        write_private(folder, {**self.render(job).files, "log": ""})
        (folder / "exit_code").unlink(missing_ok=True)
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                ["/bin/sh", str(folder / "run.sh")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        write_private(folder, {"pid": f"{process.pid} {_started(process.pid)}"})

    def status(self, job: Job, folder: Path) -> JobState:
        """RUNNING while the script lives, else by its exit code: 75 is STOPPED, and can be continued."""
        ended, code = folder / "exit_code", None
        if _pid(folder) is not None:
            status, message = "RUNNING", "Job is running."
        elif ended.exists():
            code = int(ended.read_text())
            status = {0: "SUCCEEDED", 75: "STOPPED"}.get(code, "FAILED")
            message = f"The command ended with exit code {code}."
        else:
            status, message = "FAILED", "The process is gone and left no exit code: killed, or a restart."
        return JobState(
            id=job.name,
            status=status,
            message=message,
            entrypoint=shlex.join(job.command),
            started=None,
            ended=ended.stat().st_mtime if ended.exists() else None,
            exit_code=code,
        )

    def logs(self, job: Job, folder: Path, *, follow: bool, write: Callable[[str], None]) -> None:  # noqa: ARG002
        """The script's output."""
        with (folder / "log").open(errors="replace") as log:
            while True:
                running = follow and _pid(folder) is not None
                write(log.read())
                if not running:
                    return
                time.sleep(BETWEEN_LOOKS)

    def stop(self, job: Job, folder: Path) -> str:
        """SIGTERM to the script, which hands it on; does not wait."""
        pid = _pid(folder)
        if pid is None:
            return f"{job.name}: had ended already"
        os.kill(pid, signal.SIGTERM)
        return f"{job.name}: asked to stop; it writes a checkpoint first"


def _pid(folder: Path) -> int | None:
    """The script's process while it is that one and lives; a number is given out again, its start time is not."""
    try:
        pid, started = (folder / "pid").read_text().split()
    except FileNotFoundError:
        raise ClusterError(f"{folder} holds no process of a job") from None
    return int(pid) if _started(int(pid)) == started else None


def _started(pid: int) -> str:
    """The start time of a process in ticks since boot, and nothing for one that ended (proc(5), field 22)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "gone"
    return "gone" if fields[0] == "Z" else fields[19]
