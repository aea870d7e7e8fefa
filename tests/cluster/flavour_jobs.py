"""A job for every flavour, on a fleet that has what each needs."""

from cluster.flavours import NAMES
from cluster.flavours.base import Job
from cluster.fleet import Fleet
from cluster.places import Kuberay, Slurm, Vms

TRAIN = (
    "train",
    "swin_b_22k_224",
    "--data",
    "s3://bucket/in22k",
    "--out",
    "/shared/b22k",
    "--set",
    "name=it's; $HOME",
)
GPUS = Fleet(
    name="rented",
    nodes=2,
    workers_per_node=8,
    gpu=True,
    cpus_per_worker=12,
    memory_gib=79,
    host_memory_gib=1792,
    local_disk_gib=28_000,
    image="registry.example.com/raytrain:0.1.0",
    storage="/shared",
    storage_shared=True,
    spot=True,
    kuberay=Kuberay(namespace="training", claim="shared", queue="gpus", service_account="raytrain"),
    vms=Vms(
        region="us-east-1",
        instance_type="p5.48xlarge",
        security_groups=("sg-1",),
        nfs="fs-1.efs.us-east-1.amazonaws.com:/",
        instance_profile="raytrain",
        head_instance_profile="raytrain-head",
    ),
    slurm=Slurm(venv="/shared/venv", partition="gpu"),
)
FLEETS = dict.fromkeys(NAMES, GPUS) | {"local": Fleet(name="local")}


def job(of: str, **changes) -> Job:
    return Job(
        **{
            "name": "swin-b",
            "arguments": TRAIN,
            "fleet": FLEETS[of],
            "ray_version": "2.58.0",
            "address": "http://127.0.0.1:1",
            **changes,
        }
    )
