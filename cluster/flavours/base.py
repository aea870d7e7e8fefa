"""What all flavours have in common: the job, what is rendered of it, and the protocol.

`render` is pure: the same job is the same text. `submit` writes these files into the job's folder and runs these
commands, and nothing else; so what it prints is what a user could have typed.
"""

import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import yaml
from pydantic import BaseModel, ConfigDict

from cluster.errors import ClusterError, ClusterUsageError
from cluster.fleet import Fleet
from cluster.jobs import JobState

NAME = re.compile(r"[a-z]([a-z0-9-]{0,45}[a-z0-9])?")
"""KubeRay's longest name for a RayJob is 47 (ray-operator/controllers/ray/utils/constant.go), and all share it."""
JOBS_API = "http://127.0.0.1:8265"


RUN_TO_ITS_END = """\
{command} &
child=$!
trap 'kill -TERM "$child"' TERM
code=0
wait "$child" || code=$?
while kill -0 "$child" 2> /dev/null; do
    code=0
    wait "$child" || code=$?
done
"""
"""Of a script: the command in the background, SIGTERM handed on to it, and its exit code in `code`.

A trapped signal ends `wait` at once, so it is asked for again until the child is gone.
"""


class Job(BaseModel):
    """A `raytrain` command to run on a fleet. `ray_version` is what the image has, in KubeRay's manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    arguments: tuple[str, ...]
    fleet: Fleet
    ray_version: str
    address: str = JOBS_API
    working_dir: str | None = None

    @property
    def command(self) -> list[str]:
        """The command as the cluster runs it."""
        return ["python", "-m", "raytrain", *self.arguments]


class Command(BaseModel):
    """A program's arguments, and the file of the job's folder that it reads as standard input."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    argv: tuple[str, ...]
    stdin: str | None = None

    @property
    def line(self) -> str:
        """As a user would type it in the job's folder."""
        return shlex.join(self.argv) + (f" < {self.stdin}" if self.stdin else "")


class Rendered(BaseModel):
    """What a cluster of this kind understands: files by name, and the commands that send them, in order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: dict[str, str]
    commands: tuple[Command, ...]


class Flavour(Protocol):
    """One kind of cluster. `folder` is the job's own on this machine, where its files are.

    All but `render` raise ClusterError where the cluster or its command line tool refuses, or is not there.
    """

    def render(self, job: Job) -> Rendered:
        """What `submit` will write and run. Raises ClusterUsageError for a fleet that lacks what it needs."""

    def submit(self, job: Job, folder: Path) -> None:
        """Send the job; returns before it ends."""

    def status(self, job: Job, folder: Path) -> JobState:
        """How the job is."""

    def logs(self, job: Job, folder: Path, *, follow: bool, write: Callable[[str], None]) -> None:
        """Write what the job has printed; with `follow` until it ends."""

    def stop(self, job: Job, folder: Path) -> str:
        """End the job and give its machines back; what was done, in a sentence."""


def check_name(name: str) -> str:
    """The name itself. Raises ClusterUsageError for one that is more than a name."""
    if not NAME.fullmatch(name):
        raise ClusterUsageError(
            f"--name {name!r}: 1 to 47 of a-z, 0-9 and '-', a letter first and no '-' at the end"
        )
    return name


def need(fleet: Fleet, field: str, why: str) -> str:
    """A text field of the fleet that this flavour cannot do without. Raises ClusterUsageError."""
    value = getattr(fleet, field)
    if value is None:
        raise ClusterUsageError(f"fleet '{fleet.name}' has no `{field}`: {why}")
    return str(value)


class _Plain(yaml.SafeDumper):
    """YAML without anchors, which a reader would have to look up."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        """Every value is written out."""
        return True


def as_yaml(*documents: dict[str, Any]) -> str:
    """Documents one behind the other, in the order of their fields, with every text on one line."""
    return "---\n".join(yaml.dump(doc, Dumper=_Plain, sort_keys=False, width=10_000) for doc in documents)


def write_private(folder: Path, files: dict[str, str]) -> None:
    """Write files that nobody else on this machine can read."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, text in files.items():
        handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(text)


def run(command: Command, folder: Path, *, write: Callable[[str], None] | None = None) -> str:
    """Run it in the job's folder; what it printed, also line by line to `write`. Raises ClusterError if it fails."""
    source = (folder / command.stdin).open() if command.stdin else None
    try:
        process = subprocess.Popen(
            command.argv,
            cwd=folder,
            stdin=source or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=None if write else subprocess.PIPE,
            text=True,
        )
    except FileNotFoundError:
        raise ClusterError(
            f"there is no `{command.argv[0]}` on this machine, which this kind of cluster is spoken to with: install it"
        ) from None
    finally:
        if source:
            source.close()
    lines, errors = [], ""
    with process:
        if write:
            for line in process.stdout or ():
                write(line)
                lines.append(line)
        else:
            text, errors = process.communicate()
            lines = [text]
    if process.returncode:
        said = (errors or "".join(lines)).strip().splitlines() or ["nothing"]
        raise ClusterError(
            f"`{command.line}` failed with exit code {process.returncode}; it said: {said[-1]}"
        )
    return "".join(lines)
