"""Kinds of clusters behind one protocol: what each understands, and how a job is sent, followed and stopped there."""

from cluster.errors import ClusterUsageError
from cluster.flavours.base import Flavour

NAMES = ("local", "address", "kuberay", "vms", "slurm")


def flavour(name: str) -> Flavour:
    """The flavour of that name. Raises ClusterUsageError for an unknown one."""
    from cluster.flavours.address import Address
    from cluster.flavours.kuberay import KubeRay
    from cluster.flavours.local import Local
    from cluster.flavours.slurm import SlurmCluster
    from cluster.flavours.vms import Machines

    known: dict[str, Flavour] = {
        "local": Local(),
        "address": Address(),
        "kuberay": KubeRay(),
        "vms": Machines(),
        "slurm": SlurmCluster(),
    }
    if name not in known:
        raise ClusterUsageError(f"unknown flavour '{name}': it is one of {', '.join(known)}")
    return known[name]
