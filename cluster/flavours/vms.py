"""`vms`: machines of AWS, started by Ray's cluster launcher (`ray up`); the job is sent to their head through ssh.

The file follows ray/autoscaler/ray-schema.json. The token is a file of the job's folder, mode 0600, which the launcher
copies to every machine. The dashboard listens on the head's own loopback only.
"""

import json
import secrets
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.errors import ClusterError, ClusterUsageError
from cluster.flavours.base import (
    JOBS_API,
    Command,
    Job,
    Rendered,
    as_yaml,
    check_name,
    need,
    run,
    write_private,
)
from cluster.jobs import ENDED, JobState
from cluster.places import Vms

FILE, TOKEN_FOLDER, TOKEN = "cluster.yaml", "token", "auth_token"
THERE = ".raytrain-token"  # under the home, on every machine
WITH_TOKEN = f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$HOME/{THERE}/{TOKEN}"
LIMITS = "ulimit -n 65536"
RUN_OPTIONS = (
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--ulimit=nofile=65536:65536",
    "--ulimit=memlock=-1:-1",
)
WAIT_SECONDS = 1800
"""How long the run waits for its machines: the launcher returns when the head is up, the others follow."""


class Machines:
    """AWS, spoken to with `ray up`, `ray exec` and `ray down`."""

    def render(self, job: Job) -> Rendered:
        """The launcher's file. Raises ClusterUsageError for a fleet without `vms` or image, or a path unmounted."""
        check_name(job.name)
        place = vms_of(job)
        need(job.fleet, "image", "machines run the container that holds raytrain")
        if job.fleet.storage and job.fleet.storage.startswith("/") and not place.nfs:
            raise ClusterUsageError(
                f"fleet '{job.fleet.name}' has storage {job.fleet.storage}: name what is mounted there as "
                "`vms: {nfs: SERVER:/PATH}`, or use s3://bucket/prefix"
            )
        text = as_yaml(cluster(job, place))
        up = Command(argv=("ray", "up", "--yes", "--no-config-cache", FILE))
        return Rendered(files={FILE: text}, commands=(up, on_head(*submit_command(job))))

    def submit(self, job: Job, folder: Path) -> None:
        """Make the token, start the machines, hand the job to the head."""
        rendered = self.render(job)
        write_private(folder, rendered.files)
        if not (folder / TOKEN_FOLDER / TOKEN).exists():
            write_private(folder / TOKEN_FOLDER, {TOKEN: secrets.token_hex(32)})
        for command in rendered.commands:
            run(command, folder)

    def status(self, job: Job, folder: Path) -> JobState:
        """What the head's Jobs API says."""
        said = run(on_head("python", "-m", "raytrain", "cluster", "status", job.name, "--json"), folder)
        for line in reversed(said.splitlines()):
            if line.startswith("{"):
                return JobState.model_validate(json.loads(line))
        raise ClusterError(f"{job.name}: the head did not answer with a job's state: {said.strip()[-200:]}")

    def logs(self, job: Job, folder: Path, *, follow: bool, write: Callable[[str], None]) -> None:
        """The driver's log. Following a job that fails ends with an error there, and with its state here."""
        more = ["--follow"] if follow else []
        try:
            run(on_head("python", "-m", "raytrain", "cluster", "logs", job.name, *more), folder, write=write)
        except ClusterError:
            if not follow or self.status(job, folder).status not in ENDED:
                raise

    def stop(self, job: Job, folder: Path) -> str:
        """End the machines, and the job with them."""
        run(Command(argv=("ray", "down", "--yes", FILE)), folder)
        return f"{job.name}: its machines are given back"


def vms_of(job: Job) -> Vms:
    """The fleet's `vms`. Raises ClusterUsageError where it has none."""
    if job.fleet.vms is None:
        raise ClusterUsageError(
            f"fleet '{job.fleet.name}' has no `vms`: it needs region, instance_type and security_groups"
        )
    return job.fleet.vms


def on_head(*argv: str) -> Command:
    """A command in the head's container. `ray exec` takes one shell line; the token is in a file there."""
    return Command(argv=("ray", "exec", FILE, f"{WITH_TOKEN} {shlex.join(argv)}"))


def submit_command(job: Job) -> list[str]:
    """Our own `submit` on the head: Ray's loses quotation marks on the way (see Submission.argv)."""
    head = ["python", "-m", "raytrain", "cluster", "submit", "--address", JOBS_API, "--name", job.name]
    return [*head, "--fleet", job.fleet.inline, "--", *job.arguments]


def cluster(job: Job, place: Vms) -> dict[str, Any]:
    """The launcher's file: a head on demand that trains nothing, and the fleet's nodes, on spot if it says so."""
    fleet = job.fleet
    worker = {"InstanceType": place.instance_type, **machine(place, place.instance_profile)}
    if fleet.spot:
        worker["InstanceMarketOptions"] = {"MarketType": "spot"}
    whole = fleet.workers_per_node * fleet.cpus_per_worker
    room = {"CPU": whole, **({"GPU": fleet.workers_per_node} if fleet.gpu else {})}
    mounted = [f"--volume={fleet.storage}:{fleet.storage}"] if place.nfs else []
    return {
        "cluster_name": job.name,
        "max_workers": fleet.nodes,
        "provider": {
            "type": "aws",
            "region": place.region,
            "use_internal_ips": False,
            "cache_stopped_nodes": False,
        },
        "auth": {"ssh_user": place.ssh_user},
        "docker": {
            "image": fleet.image,
            "container_name": "raytrain",
            "pull_before_run": True,
            "run_options": [*RUN_OPTIONS, *mounted],
        },
        "head_node_type": "head",
        "available_node_types": {
            "head": {
                "resources": {"CPU": 0},
                "node_config": {
                    "InstanceType": place.head_instance_type,
                    **machine(place, place.head_instance_profile),
                },
            },
            "worker": {
                "resources": room,
                "min_workers": fleet.nodes,
                "max_workers": fleet.nodes,
                "node_config": worker,
            },
        },
        "file_mounts": {f"~/{THERE}": TOKEN_FOLDER},
        "initialization_commands": mounting(str(fleet.storage), place.nfs) if place.nfs else [],
        "setup_commands": [f"chmod 600 ~/{THERE}/{TOKEN}"],
        "head_start_ray_commands": ["ray stop", start("--head", "--port=6379", *HEAD_OPTIONS)],
        "worker_start_ray_commands": [
            "ray stop",
            start("--address=$RAY_HEAD_IP:6379", "--object-manager-port=8076"),
            *([NOTIFIER] if fleet.spot else []),
        ],
    }


HEAD_OPTIONS = (
    "--object-manager-port=8076",
    "--dashboard-host=127.0.0.1",
    "--autoscaling-config=~/ray_bootstrap_config.yaml",
)
NOTIFIER = (
    f"{WITH_TOKEN} nohup python -m cluster.drain --address $RAY_HEAD_IP:6379 "
    "> /tmp/raytrain-drain.log 2>&1 < /dev/null &"
)


def start(*options: str) -> str:
    """`ray start` with the token asked for; `~` and `$RAY_HEAD_IP` are for the machine's own shell."""
    known = f"{WITH_TOKEN} RAYTRAIN_WAIT_FOR_NODES={WAIT_SECONDS}"
    return f"{LIMITS}; {known} ray start --disable-usage-stats {' '.join(options)}"


def machine(place: Vms, profile: str | None) -> dict[str, Any]:
    """What EC2's run_instances takes, for the head and the workers: encrypted disk, IMDSv2, your own groups."""
    disk = {"VolumeSize": place.disk_gib, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}
    made: dict[str, Any] = {
        "BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": disk}],
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        "SecurityGroupIds": list(place.security_groups),
    }
    if place.ami:
        made["ImageId"] = place.ami
    if place.subnets:
        made["SubnetIds"] = list(place.subnets)
    if profile:
        made["IamInstanceProfile"] = {"Name": profile}
    return made


def mounting(storage: str, export: str) -> list[str]:
    """The shared disk, on the machine itself: the container is given it as a volume."""
    where, what = shlex.quote(storage), shlex.quote(export)
    return [
        f"sudo mkdir -p {where}",
        f"mountpoint -q {where} || sudo mount -t nfs4 -o nfsvers=4.1,hard,timeo=600,noresvport {what} {where}",
    ]
