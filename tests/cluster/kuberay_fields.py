"""The fields of RayJob, NetworkPolicy and pods that manifests of ours use, and what kind of value each takes.

RayJob, RayCluster and pods: github.com/ray-project/kuberay at feeaf72, ray-operator/config/crd/bases/
ray.io_rayjobs.yaml (v1). NetworkPolicy: Kubernetes' networking.k8s.io/v1. An API server drops or refuses a field that
it does not know; here it is an error. A dict lists fields, a list has the kind of its members, MAP is text to text.
"""

from typing import Any

MAP = "map"
METADATA = {"name": str, "namespace": str, "labels": MAP}
SECURITY = {
    "allowPrivilegeEscalation": bool,
    "readOnlyRootFilesystem": bool,
    "capabilities": {"drop": [str]},
}
CONTAINER = {
    "name": str,
    "image": str,
    "env": [{"name": str, "value": str}],
    "ports": [{"containerPort": int, "name": str}],
    "securityContext": SECURITY,
    "resources": {"limits": MAP, "requests": MAP},
    "volumeMounts": [{"name": str, "mountPath": str}],
}
VOLUME = {
    "name": str,
    "emptyDir": {"medium": str, "sizeLimit": str},
    "persistentVolumeClaim": {"claimName": str},
}
POD = {
    "metadata": {"labels": MAP},
    "spec": {
        "serviceAccountName": str,
        "automountServiceAccountToken": bool,
        "terminationGracePeriodSeconds": int,
        "restartPolicy": str,
        "nodeSelector": MAP,
        "securityContext": {
            "runAsNonRoot": bool,
            "runAsUser": int,
            "runAsGroup": int,
            "fsGroup": int,
            "seccompProfile": {"type": str},
        },
        "containers": [CONTAINER],
        "volumes": [VOLUME],
    },
}
CLUSTER = {
    "rayVersion": str,
    "authOptions": {"mode": str},
    "enableInTreeAutoscaling": bool,
    "headGroupSpec": {"rayStartParams": MAP, "template": POD},
    "workerGroupSpecs": [
        {
            "groupName": str,
            "replicas": int,
            "minReplicas": int,
            "maxReplicas": int,
            "rayStartParams": MAP,
            "template": POD,
        }
    ],
}
RAY_JOB = {
    "apiVersion": str,
    "kind": str,
    "metadata": METADATA,
    "spec": {
        "entrypoint": str,
        "submissionMode": str,
        "suspend": bool,
        "backoffLimit": int,
        "shutdownAfterJobFinishes": bool,
        "ttlSecondsAfterFinished": int,
        "submitterPodTemplate": POD,
        "rayClusterSpec": CLUSTER,
    },
}
SELECTOR = {"matchLabels": MAP}
PEERS = [{"podSelector": SELECTOR, "namespaceSelector": SELECTOR, "ipBlock": {"cidr": str, "except": [str]}}]
PORTS = [{"port": int, "protocol": str}]
NETWORK_POLICY = {
    "apiVersion": str,
    "kind": str,
    "metadata": METADATA,
    "spec": {
        "podSelector": SELECTOR,
        "policyTypes": [str],
        "ingress": [{"from": PEERS, "ports": PORTS}],
        "egress": [{"to": PEERS, "ports": PORTS}],
    },
}


def wrong(value: Any, kind: Any, where: str = "") -> list[str]:
    """Every field that is unknown or of another kind, by its path."""
    if kind == MAP:
        good = isinstance(value, dict) and all(
            isinstance(text, str) for pair in value.items() for text in pair
        )
        return [] if good else [f"{where}: not text to text"]
    if isinstance(kind, dict):
        if not isinstance(value, dict):
            return [f"{where}: no object"]
        found = [f"{where}.{name}: unknown" for name in value if name not in kind]
        return found + [
            line
            for name in value
            if name in kind
            for line in wrong(value[name], kind[name], f"{where}.{name}")
        ]
    if isinstance(kind, list):
        if not isinstance(value, list):
            return [f"{where}: no list"]
        return [line for n, member in enumerate(value) for line in wrong(member, kind[0], f"{where}[{n}]")]
    return [] if type(value) is kind else [f"{where}: {value!r} is no {kind.__name__}"]
