"""Pods that may do little, and the NetworkPolicy around them: Kubernetes' "restricted" standard, and no host paths."""

from typing import Any

from cluster.flavours.base import Job
from cluster.fleet import Fleet
from cluster.places import Kuberay

HEAD_CPUS, HEAD_GIB = 2, 8  # the driver and Ray's own services; it trains nothing
SUBMITTER_CPUS, SUBMITTER_GIB = 1, 1
USER, GROUP = 1000, 100  # rayproject/ray's images: user `ray`, group `users`
DRAIN_SECONDS, GRACE_SECONDS = 90, 120
"""SIGTERM drains a pod's node for so long, while the run writes its checkpoint; Kubernetes kills after the second."""


def labels(job: Job) -> dict[str, str]:
    """What marks the pods of this job, and of no other."""
    return {"app.kubernetes.io/part-of": "raytrain", "app.kubernetes.io/instance": job.name}


def head_pod(job: Job, place: Kuberay) -> dict[str, Any]:
    """The head: Ray's services and the driver, never on a spot machine's GPUs."""
    ports = [{"containerPort": 6379, "name": "gcs-server"}, {"containerPort": 8265, "name": "dashboard"}]
    made = pod(job, place, "ray-head", resources(HEAD_CPUS, HEAD_GIB, disk_gib=20), shm_gib=HEAD_GIB / 3)
    made["spec"]["containers"][0]["ports"] = ports
    return made


def worker_pod(job: Job, place: Kuberay) -> dict[str, Any]:
    """One node's worth of workers."""
    fleet = job.fleet
    host, disk = fleet.host_memory_gib or 0, fleet.local_disk_gib or 0
    asked = resources(fleet.workers_per_node * fleet.cpus_per_worker, host, disk_gib=disk)
    if fleet.gpu:
        for kind in asked.values():
            kind["nvidia.com/gpu"] = str(fleet.workers_per_node)
    made = pod(job, place, "ray-worker", asked, shm_gib=host / 3)
    if place.node_selector:
        made["spec"]["nodeSelector"] = dict(place.node_selector)
    return made


def submitter_pod(job: Job, place: Kuberay) -> dict[str, Any]:
    """The pod that runs `ray job submit` and follows the log."""
    made = pod(job, place, "submitter", resources(SUBMITTER_CPUS, SUBMITTER_GIB, disk_gib=1), shm_gib=0.0625)
    made["spec"]["restartPolicy"] = "Never"
    return made


def pod(job: Job, place: Kuberay, container: str, asked: dict[str, Any], *, shm_gib: float) -> dict[str, Any]:
    """A pod that is not root, can become nothing more, and writes to its own volumes only."""
    disk = asked["limits"]["ephemeral-storage"]
    mounts = [{"name": "tmp", "mountPath": "/tmp"}, {"name": "shm", "mountPath": "/dev/shm"}]  # noqa: S108
    volumes: list[dict[str, Any]] = [
        {"name": "tmp", "emptyDir": {"sizeLimit": disk}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": _mib(shm_gib)}},
    ]
    if place.claim and container != "submitter":
        volumes.append({"name": "storage", "persistentVolumeClaim": {"claimName": place.claim}})
        mounts.append({"name": "storage", "mountPath": str(job.fleet.storage)})
    return {
        "metadata": {"labels": labels(job)},
        "spec": {
            "serviceAccountName": place.service_account,
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": GROUP,
                "fsGroup": GROUP,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": container,
                    "image": job.fleet.image,
                    "env": environment(job.fleet),
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "resources": asked,
                    "volumeMounts": mounts,
                }
            ],
            "volumes": volumes,
        },
    }


def environment(fleet: Fleet) -> list[dict[str, str]]:
    """Everything that writes to a home writes to /tmp, since the image is read-only."""
    values = {
        "HOME": "/tmp",  # noqa: S108
        "RAYTRAIN_FLEET": fleet.inline,
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": str(DRAIN_SECONDS),
    }
    return [{"name": name, "value": value} for name, value in values.items()]


def resources(cpus: int, memory_gib: float, *, disk_gib: float) -> dict[str, dict[str, str]]:
    """Limits, and requests that are equal: such a pod is the last to be put out."""
    asked = {"cpu": str(cpus), "memory": _mib(memory_gib), "ephemeral-storage": _mib(disk_gib)}
    return {"limits": dict(asked), "requests": dict(asked)}


def network_policy(job: Job, place: Kuberay) -> dict[str, Any]:
    """Nothing in or out but: the job's own pods, the operator to the dashboard, names, and the storage."""
    own = [{"podSelector": {"matchLabels": labels(job)}}]
    operator = {
        "namespaceSelector": {},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "kuberay-operator"}},
    }
    names = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    }
    outside: dict[str, Any] = {"cidr": place.storage_cidr}
    if place.storage_cidr == "0.0.0.0/0":
        outside["except"] = ["169.254.0.0/16"]  # the machine's own credentials
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": job.name, "namespace": place.namespace, "labels": labels(job)},
        "spec": {
            "podSelector": {"matchLabels": labels(job)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": own}, {"from": [operator], "ports": [{"port": 8265, "protocol": "TCP"}]}],
            "egress": [
                {"to": own},
                {"to": [names], "ports": [{"port": 53, "protocol": kind} for kind in ("UDP", "TCP")]},
                {
                    "to": [{"ipBlock": outside}],
                    "ports": [{"port": place.storage_port, "protocol": "TCP"}],
                },
            ],
        },
    }


def _mib(gib: float) -> str:
    return f"{int(gib * 1024)}Mi"
