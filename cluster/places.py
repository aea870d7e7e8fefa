"""What a fleet file says for one kind of cluster only: `kuberay:`, `vms:`, `slurm:`.

Every text that ends in a shell line, a path or a manifest has a pattern: nothing in it can be more than a name.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt

LABEL = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
WORD = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$"
FOLDER = r"^/[A-Za-z0-9._/-]{1,254}$"
IMAGE = r"^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}$"
ROOT = r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._/-]*)?|/[A-Za-z0-9._/-]{1,254})$"
CIDR = r"^[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}$"
SERVED = r"^[A-Za-z0-9.-]{1,253}:/[A-Za-z0-9._/-]{0,254}$"
PATH = "a path from / on, of letters, digits, '.', '_', '-' and '/'"
IN_WORDS = {
    LABEL: "a name of Kubernetes: 1 to 63 of a-z, 0-9 and '-', a letter or digit first and last",
    WORD: "1 to 64 of letters, digits, '.', '_', ':' and '-', a letter or digit first",
    FOLDER: PATH,
    IMAGE: "a container image, such as registry.example.com/raytrain:0.1.0 or NAME@sha256:DIGEST",
    ROOT: f"s3://bucket/prefix, the bucket 3 to 63 of a-z, 0-9, '.' and '-'; or {PATH}",
    CIDR: "addresses such as 10.0.0.0/8",
    SERVED: "SERVER:/PATH",
}
"""What a text that matches no pattern should have been, for whoever wrote it."""

Label = Annotated[str, Field(pattern=LABEL)]
Word = Annotated[str, Field(pattern=WORD)]
Folder = Annotated[str, Field(pattern=FOLDER)]
Image = Annotated[str, Field(pattern=IMAGE)]
Root = Annotated[str, Field(pattern=ROOT)]
Cidr = Annotated[str, Field(pattern=CIDR)]
Served = Annotated[str, Field(pattern=SERVED)]


class Place(BaseModel):
    """Frozen, and without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Kuberay(Place):
    """Kubernetes with KubeRay's operator.

    `claim` is a ReadWriteMany claim, mounted at the fleet's `storage`. `queue` is a LocalQueue of Kueue's, which then
    admits the job with all its pods or not at all. `service_account` carries the rights to S3. Pods reach the
    storage at `storage_cidr`, port `storage_port`, and nothing else outside. `retries` is how often the operator
    starts the job again on new pods.
    """

    namespace: Label = "default"
    claim: Label | None = None
    queue: Label | None = None
    service_account: Label = "default"
    node_selector: dict[str, str] = {}
    storage_cidr: Cidr = "0.0.0.0/0"
    storage_port: PositiveInt = 443
    retries: NonNegativeInt = 3


class Vms(Place):
    """Machines of AWS, started by Ray's cluster launcher.

    `security_groups` are yours, since Ray's own opens port 22 to the world. `instance_profile` carries the workers'
    rights to S3, `head_instance_profile` the head's, which starts machines too; without it Ray makes one that may do
    everything in EC2 and S3. Without an `ami` it is Ray's default one for the region. `nfs` is mounted at the fleet's
    `storage`.
    """

    region: Word
    instance_type: Word
    security_groups: Annotated[tuple[Word, ...], Field(min_length=1)]
    head_instance_profile: Word | None = None
    head_instance_type: Word = "m7i.2xlarge"
    subnets: tuple[Word, ...] = ()
    instance_profile: Word | None = None
    ami: Word | None = None
    ssh_user: Word = "ubuntu"
    disk_gib: PositiveInt = 500
    nfs: Served | None = None


class Slurm(Place):
    """A Slurm cluster. `venv` is the virtual environment with raytrain, at the same path on every node.

    `gpus` is the name of the GPUs' resource (`gpu`, or `gpu:h100` where there are several kinds). A job that is cut off
    at `hours`, or by a drain, queues again and goes on.
    """

    venv: Folder
    partition: Word | None = None
    account: Word | None = None
    gpus: Word = "gpu"
    hours: PositiveInt = 24
