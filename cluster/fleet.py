"""Fleet: what we have. Nodes, workers, memory, speed and price, and where it is; a preset, a YAML file, or inline."""

from pathlib import Path
from typing import Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from cluster.errors import ClusterUsageError
from cluster.places import Image, Kuberay, Root, Slurm, Vms
from cluster.presets import preset_fields
from cluster.wrong_fields import wrong_fields


class Fleet(BaseModel):
    """A set of equal machines. A worker is one process with one GPU, or `cpus_per_worker` CPUs where there is none.

    `memory_gib` is a worker's: the GPU's, or its share of the host's. `sustained_tflops` is what one worker was
    measured to sustain in training; without it a plan assumes a share of `peak_tflops`, the data sheet's for dense
    bf16, and says so; without both, hours and cost are unknown. `node_price_per_hour` is in any currency.

    A node has `host_memory_gib` for all its workers and `local_disk_gib` for the shards' cache. `image` holds
    raytrain. `storage` is the root that runs are written under: s3://bucket/prefix, or a path, which on several nodes
    has to be one disk that all of them mount (`storage_shared`). `spot` machines may be taken away at any time.
    `kuberay`, `vms` and `slurm` say what only that kind of cluster asks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    nodes: PositiveInt = 1
    workers_per_node: PositiveInt = 1
    gpu: bool = False
    cpus_per_worker: PositiveInt = 1
    memory_gib: PositiveFloat = 4.0
    loader_processes: NonNegativeInt = 0
    sustained_tflops: PositiveFloat | None = None
    peak_tflops: PositiveFloat | None = None
    node_price_per_hour: NonNegativeFloat | None = None
    placement: Literal["PACK", "SPREAD"] = "PACK"
    host_memory_gib: PositiveFloat | None = None
    local_disk_gib: PositiveFloat | None = None
    image: Image | None = None
    storage: Root | None = None
    storage_shared: bool = Field(False, validate_default=True)
    spot: bool = False
    kuberay: Kuberay | None = None
    vms: Vms | None = None
    slurm: Slurm | None = None

    @field_validator("storage_shared")
    @classmethod
    def _storage_is_everywhere(cls, shared: bool, others: ValidationInfo) -> bool:
        # of one field, since a check of the whole is left out where any other field is wrong
        nodes, storage = others.data.get("nodes", 1), others.data.get("storage") or ""
        if nodes > 1 and storage.startswith("/") and not shared:
            raise ValueError(
                f"storage: {storage} is a path on one machine, and the fleet has {nodes} nodes: use "
                "s3://bucket/prefix, or say `storage_shared: true` if every node mounts that disk"
            )
        return shared

    @property
    def workers(self) -> int:
        """The number of data-parallel workers."""
        return self.nodes * self.workers_per_node

    @property
    def inline(self) -> str:
        """What a plan needs of it in one line, which `load_fleet` reads: a command can carry its fleet along."""
        where = {"kuberay", "vms", "slurm", "image", "storage", "storage_shared"}
        return self.model_dump_json(exclude=where, exclude_defaults=True)


def presets() -> dict[str, Fleet]:
    """The fleets that need no file."""
    return {name: Fleet(name=name, **fields) for name, fields in preset_fields().items()}


def load_fleet(name_or_file: str, workers: int | None = None) -> Fleet:
    """A preset, a YAML file with Fleet's fields, or these as `{...}`; `workers` overrides the count of one node.

    Raises ClusterUsageError for an unknown name, a damaged file or a field that is wrong.
    """
    known = presets()
    if name_or_file in known:
        fleet = known[name_or_file]
    elif name_or_file.endswith((".yaml", ".yml")):
        fleet = _read(Path(name_or_file))
    elif name_or_file.startswith("{"):
        fleet = _parse(name_or_file, "the inline fleet")
    else:
        raise ClusterUsageError(
            f"unknown fleet '{name_or_file}': a preset ({', '.join(known)}) or the path of a .yaml file"
        )
    if workers is None:
        return fleet
    if fleet.nodes > 1:
        raise ClusterUsageError(
            f"--workers {workers} cannot change fleet '{fleet.name}' of {fleet.nodes} nodes: edit workers_per_node"
        )
    if workers < 1:
        raise ClusterUsageError(f"--workers {workers}: a run needs at least 1 worker")
    return fleet.model_copy(update={"workers_per_node": workers})


def _read(path: Path) -> Fleet:
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise ClusterUsageError(f"no fleet file at {path}") from None
    except OSError as error:
        raise ClusterUsageError(f"cannot read the fleet file {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ClusterUsageError(f"{path} is no YAML: {error}") from None
    return _parse(text, str(path))


def _parse(text: str, source: str) -> Fleet:
    try:
        return Fleet.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ClusterUsageError(f"{source} is no YAML: {error}") from None
    except ValidationError as error:
        raise ClusterUsageError(f"{source}: {wrong_fields(error, Fleet)}") from None
