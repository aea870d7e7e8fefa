"""`slurm`: an sbatch script that starts one Ray on each of the job's nodes and runs the command beside its head.

`ray symmetric-run` does nearly that and is not used: it waits 30 s for exactly N nodes, refuses a node where any Ray
runs, and ends with `ray stop`, which ends other jobs' Rays on that host too. Here a Ray belongs to its job step, and
Slurm ends it. No dashboard is started, and so no Jobs API.
"""

import shlex
import time
from collections.abc import Callable
from pathlib import Path

from cluster.errors import ClusterError, ClusterUsageError
from cluster.flavours.base import RUN_TO_ITS_END, Command, Job, Rendered, check_name, run, write_private
from cluster.jobs import ENDED, JobState
from cluster.places import Slurm

FILE, SLURM_ID, STOPPED, EXIT_CODE = "job.sbatch", "slurm_id", "stopped", "exit_code"
NOTICE_SECONDS = 120
"""SIGTERM comes so long before the time limit: a step and a checkpoint have to fit."""
WAIT_SECONDS = 600
BETWEEN_LOOKS = 2.0  # seconds
STATES = {
    "PENDING": "PENDING",
    "CONFIGURING": "PENDING",
    "REQUEUED": "PENDING",
    "REQUEUE_HOLD": "PENDING",
    "SUSPENDED": "PENDING",
    "RUNNING": "RUNNING",
    "COMPLETING": "RUNNING",
}
STOPPED_CODE = 75

BODY = (
    """
set -euo pipefail
export PATH={bin}:"$PATH"
rm -f "$SLURM_SUBMIT_DIR/exit_code"

# A token of this job's own in the folder it was submitted from, which all nodes share; only its user can read it.
token="$SLURM_SUBMIT_DIR/auth_token-$SLURM_JOB_ID"
(umask 077 && python -c 'import secrets; print(secrets.token_hex(32), end="")' > "$token")
trap 'rm -f "$token"' EXIT
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$token" RAY_USAGE_STATS_ENABLED=0
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0  # when a step is ended, its run has ended already
export RAYTRAIN_FLEET={fleet}
export RAYTRAIN_WAIT_FOR_NODES={wait}

ip=$(hostname -I | awk '{{print $1}}')  # this script runs on the first node
port=$((20000 + SLURM_JOB_ID % 10000))
step=(--overlap --cpus-per-task={cpus}{gres} --export=ALL --output="ray-%j.log" --open-mode=append)
node=(--num-cpus={cpus} --num-gpus={gpus})

srun "${{step[@]}}" --nodes=1 --ntasks=1 --nodelist="$SLURMD_NODENAME" \\
    ray start --head --block --node-ip-address="$ip" --port="$port" --temp-dir="/tmp/rt-$SLURM_JOB_ID" \\
    --include-dashboard=false "${{node[@]}}" &
for _ in $(seq {wait}); do
    if (exec 3<> "/dev/tcp/$ip/$port") 2> /dev/null; then break; fi
    sleep 1
done
others=$((SLURM_JOB_NUM_NODES - 1))
if [ "$others" -gt 0 ]; then
    srun "${{step[@]}}" --nodes="$others" --ntasks="$others" --exclude="$SLURMD_NODENAME" \\
        ray start --block --address="$ip:$port" "${{node[@]}}" &
fi

# The run waits for its nodes itself. SIGTERM, here before the time limit, makes it write a checkpoint and end with 75.
export RAY_ADDRESS="$ip:$port"
"""
    + RUN_TO_ITS_END
    + """\
if [ "$code" -eq 75 ] && [ ! -e "$SLURM_SUBMIT_DIR/stopped" ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
echo "$code" > "$SLURM_SUBMIT_DIR/exit_code"
exit "$code"
"""
)


class SlurmCluster:
    """Slurm, spoken to with sbatch, squeue and scancel."""

    def render(self, job: Job) -> Rendered:
        """The script. Raises ClusterUsageError for a fleet without `slurm`."""
        check_name(job.name)
        place = slurm_of(job)
        return Rendered(
            files={FILE: "\n".join([*header(job, place), BODY.format(**filling(job, place))])},
            commands=(Command(argv=("sbatch", "--parsable"), stdin=FILE),),
        )

    def submit(self, job: Job, folder: Path) -> None:
        """`sbatch`; its job id is kept in the folder."""
        rendered = self.render(job)
        write_private(folder, rendered.files)
        for left in (STOPPED, EXIT_CODE):
            (folder / left).unlink(missing_ok=True)
        for command in rendered.commands:
            write_private(folder, {SLURM_ID: run(command, folder).partition(";")[0].strip()})

    def status(self, job: Job, folder: Path) -> JobState:
        """What squeue says while it remembers the job (5 minutes after its end), then the exit code in its folder."""
        number, code = (folder / SLURM_ID).read_text(), folder / EXIT_CODE
        ask = ("squeue", "--noheader", "--states=all", "--format=%T", "--jobs", number)
        try:
            word = run(Command(argv=ask), folder).strip()
        except ClusterError as error:
            if "Invalid job id" not in str(error):
                raise
            word = ""
        ended = (
            int(code.read_text())
            if code.exists() and STATES.get(word) not in ("PENDING", "RUNNING")
            else None
        )
        cut_off = "STOPPED" if ended == STOPPED_CODE or (folder / STOPPED).exists() else "FAILED"
        return JobState(
            id=job.name,
            status=STATES.get(word, "SUCCEEDED" if ended == 0 else cut_off),
            message=f"Slurm job {number}: {word or 'gone from the queue'}",
            entrypoint=shlex.join(job.command),
            started=None,
            ended=None,
            exit_code=ended,
        )

    def logs(self, job: Job, folder: Path, *, follow: bool, write: Callable[[str], None]) -> None:
        """The file that Slurm writes; with `follow` until the job ends."""
        number = (folder / SLURM_ID).read_text()
        path = folder / f"slurm-{number}.log"
        written = 0
        while True:
            running = follow and self.status(job, folder).status not in ENDED
            if path.exists():
                with path.open(errors="replace") as log:
                    log.seek(written)
                    write(log.read())
                    written = log.tell()
            if not running:
                return
            time.sleep(BETWEEN_LOOKS)

    def stop(self, job: Job, folder: Path) -> str:
        """Out of the queue, or SIGTERM to the script, which hands it on and does not queue again."""
        number = (folder / SLURM_ID).read_text()
        write_private(folder, {STOPPED: ""})
        run(Command(argv=("scancel", "--state=PENDING", number)), folder)
        run(Command(argv=("scancel", "--state=RUNNING", "--batch", "--signal=TERM", number)), folder)
        return f"{job.name}: Slurm job {number} is asked to stop; it writes a checkpoint first"


def slurm_of(job: Job) -> Slurm:
    """The fleet's `slurm`. Raises ClusterUsageError where it has none."""
    if job.fleet.slurm is None:
        raise ClusterUsageError(
            f"fleet '{job.fleet.name}' has no `slurm`: it needs at least `slurm: {{venv: /PATH/TO/VENV}}`"
        )
    return job.fleet.slurm


def header(job: Job, place: Slurm) -> list[str]:
    """The #SBATCH lines."""
    fleet = job.fleet
    options = {
        "job-name": job.name,
        "nodes": str(fleet.nodes),
        "ntasks-per-node": "1",
        "cpus-per-task": str(fleet.workers_per_node * fleet.cpus_per_worker),
        "exclusive": None,
        "time": f"{place.hours}:00:00",
        "signal": f"B:TERM@{NOTICE_SECONDS}",
        "requeue": None,
        "open-mode": "append",
        "output": "slurm-%j.log",
    }
    if fleet.gpu:
        options["gres"] = f"{place.gpus}:{fleet.workers_per_node}"
    if fleet.host_memory_gib:
        options["mem"] = f"{int(fleet.host_memory_gib)}G"
    if place.partition:
        options["partition"] = place.partition
    if place.account:
        options["account"] = place.account
    return [
        "#!/bin/bash",
        *(f"#SBATCH --{name}" + (f"={value}" if value else "") for name, value in options.items()),
    ]


def filling(job: Job, place: Slurm) -> dict[str, str]:
    """What the script's body leaves open, quoted."""
    fleet = job.fleet
    gpus = fleet.workers_per_node if fleet.gpu else 0
    return {
        "bin": shlex.quote(f"{place.venv}/bin"),
        "fleet": shlex.quote(fleet.inline),
        "wait": str(WAIT_SECONDS),
        "cpus": str(fleet.workers_per_node * fleet.cpus_per_worker),
        "gpus": str(gpus),
        "gres": f" --gres={place.gpus}:{gpus}" if gpus else "",
        "command": shlex.join(job.command),
    }
