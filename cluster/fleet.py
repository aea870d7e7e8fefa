"""Fleet: what we have. Nodes, workers, memory, speed and price; a preset by name or a YAML file."""

from pathlib import Path

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
)

from cluster.errors import ClusterUsageError


class Fleet(BaseModel):
    """A set of equal machines. A worker is one process with one GPU, or `cpus_per_worker` CPUs where there is none.

    `memory_gib` is a worker's: the GPU's, or its share of the host's. `sustained_tflops` is what one worker was
    measured to sustain in training; without it a plan assumes a share of `peak_tflops`, the data sheet's for dense
    bf16, and says so; without both, hours and cost are unknown. `node_price_per_hour` is in any currency.
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
    placement: str = Field("PACK", pattern="^(PACK|SPREAD)$")

    @property
    def workers(self) -> int:
        """The number of data-parallel workers."""
        return self.nodes * self.workers_per_node


def presets() -> dict[str, Fleet]:
    """The fleets that need no file."""
    return {
        "local": Fleet(name="local"),
        "local-2": Fleet(name="local-2", workers_per_node=2),
        "h200x8": Fleet(
            name="h200x8",
            workers_per_node=8,
            gpu=True,
            cpus_per_worker=12,
            memory_gib=139,
            loader_processes=10,
            peak_tflops=989,  # NVIDIA H200 SXM data sheet: 1,979 with sparsity
        ),
    }


def load_fleet(name_or_file: str, workers: int | None = None) -> Fleet:
    """A preset, or a YAML file with Fleet's fields; `workers` overrides the count on a one-node fleet.

    Raises ClusterUsageError for an unknown name, a damaged file or a field that is wrong.
    """
    known = presets()
    if name_or_file in known:
        fleet = known[name_or_file]
    elif name_or_file.endswith((".yaml", ".yml")):
        fleet = _read(Path(name_or_file))
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
        return Fleet.model_validate(yaml.safe_load(path.read_text()))
    except FileNotFoundError:
        raise ClusterUsageError(f"no fleet file at {path}") from None
    except OSError as error:
        raise ClusterUsageError(f"cannot read the fleet file {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ClusterUsageError(f"{path} is no YAML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        needed = first["msg"].replace(" or instance of Fleet", "").removeprefix("Input ")
        if first["type"] == "extra_forbidden":
            needed = f"no such field; there are {', '.join(Fleet.model_fields)}"
        raise ClusterUsageError(f"{path}: {where}: {needed}") from None
