"""`kuberay`: a RayJob for Kubernetes with KubeRay's operator (1.5.1 or newer), and the NetworkPolicy around it.

Fields and their meaning: github.com/ray-project/kuberay, ray-operator/apis/ray/v1/{rayjob,raycluster}_types.go at
feeaf72. `authOptions` makes the operator create a token for each cluster, in a Secret that only its pods are given.
"""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.errors import ClusterUsageError
from cluster.flavours.base import Command, Job, Rendered, as_yaml, check_name, need, run, write_private
from cluster.flavours.pods import head_pod, labels, network_policy, submitter_pod, worker_pod
from cluster.jobs import JobState
from cluster.places import Kuberay

STATES = {"SUCCEEDED": "SUCCEEDED", "FAILED": "FAILED", "STOPPED": "STOPPED", "RUNNING": "RUNNING"}


class KubeRay:
    """Kubernetes, spoken to with kubectl."""

    def render(self, job: Job) -> Rendered:
        """NetworkPolicy and RayJob. Raises ClusterUsageError for a fleet without image, host memory, disk or claim."""
        check_name(job.name)
        need(job.fleet, "image", "pods are started from one that holds raytrain")
        need(job.fleet, "host_memory_gib", "a pod asks for it, and may use no more")
        need(job.fleet, "local_disk_gib", "a pod asks for it for the shards' cache, and may use no more")
        place = job.fleet.kuberay or Kuberay()
        if job.fleet.storage and job.fleet.storage.startswith("/") and not place.claim:
            raise ClusterUsageError(
                f"fleet '{job.fleet.name}' has storage {job.fleet.storage}: name the ReadWriteMany claim to mount "
                "there as `kuberay: {claim: NAME}`; paths of the host are never mounted"
            )
        text = as_yaml(network_policy(job, place), ray_job(job, place))
        return Rendered(
            files={"rayjob.yaml": text},
            commands=(Command(argv=("kubectl", "create", "-f", "-"), stdin="rayjob.yaml"),),
        )

    def submit(self, job: Job, folder: Path) -> None:
        """`kubectl create`, which refuses a name that is there already."""
        rendered = self.render(job)
        write_private(folder, rendered.files)
        for command in rendered.commands:
            run(command, folder)

    def status(self, job: Job, folder: Path) -> JobState:
        """What the operator wrote into the RayJob."""
        found = json.loads(run(self._kubectl(job, "get", "rayjob", job.name, "-o", "json"), folder))
        status = found.get("status", {})
        state = STATES.get(status.get("jobStatus", ""))
        if state is None:
            state = "FAILED" if status.get("jobDeploymentStatus") == "Failed" else "PENDING"
        said = [
            status.get(field) for field in ("jobDeploymentStatus", "reason", "message") if status.get(field)
        ]
        return JobState(
            id=job.name,
            status=state,
            message=": ".join(said) or "the operator has not taken it up yet",
            entrypoint=shlex.join(job.command),
            started=None,
            ended=None,
            exit_code=None,
        )

    def logs(self, job: Job, folder: Path, *, follow: bool, write: Callable[[str], None]) -> None:
        """The submitter's log, which is the driver's."""
        more = ["--follow"] if follow else []
        run(self._kubectl(job, "logs", f"job/{job.name}", *more), folder, write=write)

    def stop(self, job: Job, folder: Path) -> str:
        """Delete the RayJob with its pods, then the policy."""
        run(self._kubectl(job, "delete", "rayjob", job.name, "--ignore-not-found"), folder)
        run(self._kubectl(job, "delete", "networkpolicy", job.name, "--ignore-not-found"), folder)
        return f"{job.name}: deleted with its pods; the same command under another --name continues the run"

    def _kubectl(self, job: Job, *arguments: str) -> Command:
        place = job.fleet.kuberay or Kuberay()
        return Command(argv=("kubectl", "--namespace", place.namespace, *arguments))


def ray_job(job: Job, place: Kuberay) -> dict[str, Any]:
    """The RayJob. With a queue it is born suspended, and Kueue lets it start when all its pods fit."""
    fleet = job.fleet
    metadata: dict[str, Any] = {"name": job.name, "namespace": place.namespace, "labels": labels(job)}
    if place.queue:
        metadata["labels"]["kueue.x-k8s.io/queue-name"] = place.queue
    workers = {
        "groupName": "workers",
        "replicas": fleet.nodes,
        "minReplicas": fleet.nodes,
        "maxReplicas": fleet.nodes,
        "rayStartParams": {},
        "template": worker_pod(job, place),
    }
    cluster = {
        "rayVersion": job.ray_version,
        "authOptions": {"mode": "token"},
        "enableInTreeAutoscaling": False,
        "headGroupSpec": {
            # 0 CPUs: Ray places no worker there. The submitter and the operator reach the dashboard from other pods.
            "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0"},  # noqa: S104
            "template": head_pod(job, place),
        },
        "workerGroupSpecs": [workers],
    }
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": metadata,
        "spec": {
            "entrypoint": shlex.join(job.command),
            "submissionMode": "K8sJobMode",
            "suspend": bool(place.queue),
            "backoffLimit": place.retries,
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": 3600,
            "submitterPodTemplate": submitter_pod(job, place),
            "rayClusterSpec": cluster,
        },
    }
