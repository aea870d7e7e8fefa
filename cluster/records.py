"""What this machine remembers of the jobs that were sent from it: a folder each, readable by its user only."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from cluster.errors import ClusterError, ClusterUsageError
from cluster.flavours import flavour
from cluster.flavours.base import NAME, Job, write_private
from cluster.jobs import ENDED

FILE = "job.json"


class Record(BaseModel):
    """A job and the flavour that it was sent with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flavour: str
    job: Job


def default_folder() -> Path:
    """~/.raytrain/jobs."""
    return Path.home() / ".raytrain" / "jobs"


def find(root: Path, name: str) -> tuple[Record, Path] | None:
    """The record of that name and its folder, None where nothing was sent under it from here.

    Raises ClusterError for one that cannot be read.
    """
    folder = root / name
    if not NAME.fullmatch(name) or not (folder / FILE).is_file():
        return None
    try:
        return Record.model_validate_json((folder / FILE).read_text()), folder
    except (ValidationError, UnicodeDecodeError):
        raise ClusterError(f"{folder / FILE} is damaged, or of another version; remove {folder}") from None


def every(root: Path) -> list[tuple[Record, Path]]:
    """All records, by name."""
    names = sorted(file.parent.name for file in root.glob(f"*/{FILE}"))
    return [found for name in names if (found := find(root, name))]


def send(root: Path, record: Record) -> Path | None:
    """Submit, and remember in the folder that is returned; a running cluster (`address`) remembers its jobs itself.

    Raises ClusterUsageError for a bad name, or one under which a job still runs.
    """
    there, name = flavour(record.flavour), record.job.name
    there.render(record.job)  # what is refused leaves no trace
    folder = root / name
    if record.flavour == "address":
        there.submit(record.job, folder)
        return None
    earlier = find(root, name)
    if earlier is not None and _alive(*earlier):
        raise ClusterUsageError(
            f"--name {name}: a job of that name has not ended; `raytrain cluster stop {name}`, or another name"
        )
    there.submit(record.job, folder)
    write_private(folder, {FILE: record.model_dump_json(indent=1)})
    return folder


def _alive(record: Record, folder: Path) -> bool:
    try:
        return flavour(record.flavour).status(record.job, folder).status not in ENDED
    except ClusterError:  # its cluster knows it no more, or is gone itself
        return False
