"""`raytrain cluster`: render what a cluster understands, send it, follow it, stop it. Imports Ray only to run."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cluster.flavours.base import Job, Rendered
    from cluster.records import Record

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Render, submit, follow and stop jobs. Flavours: local (this machine), address (a running Ray cluster), "
    "kuberay, vms (AWS), slurm. A running cluster's token: RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or "
    "RAY_AUTH_TOKEN_PATH.",
)

LOCAL = "http://127.0.0.1:8265"
OWN_OPTIONS_FIRST = {"allow_interspersed_args": False}
"""What begins with the command's first word is the command's, with `--` before it or without."""
Arguments = Annotated[
    list[str],
    typer.Argument(
        metavar="COMMAND",
        help="Behind all options: a raytrain command without its first word, such as `train ...`.",
    ),
]
FlavourName = Annotated[str, typer.Option("--flavour", help="local, address, kuberay, vms or slurm.")]
FleetName = Annotated[
    str, typer.Option("--fleet", help="The machines: a preset or a .yaml file. The command is told of it.")
]
Address = Annotated[
    str,
    typer.Option(
        envvar="RAY_API_SERVER_ADDRESS", help="Flavour address: the cluster's dashboard, http://host:8265."
    ),
]
WorkingDir = Annotated[
    Path | None,
    typer.Option(
        help="The folder to run in. Flavour local: this one if not given. Flavour address: it is sent along, and "
        "paths in the command are the cluster's either way."
    ),
]
Name = Annotated[
    str | None,
    typer.Option(help="The job's id: a-z, 0-9, '-' (flavour address: '.' and '_' too); new if not given."),
]
JobId = Annotated[str, typer.Argument(metavar="ID", help="The id that submit printed.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Records = Annotated[
    Path | None,
    typer.Option("--jobs", envvar="RAYTRAIN_JOBS", help="Where jobs are remembered: ~/.raytrain/jobs."),
]


@app.command(context_settings=OWN_OPTIONS_FIRST)
def render(
    context: typer.Context,
    arguments: Arguments,
    flavour: FlavourName = "address",
    fleet: FleetName = "local",
    name: Name = None,
    address: Address = LOCAL,
    working_dir: WorkingDir = None,
) -> None:
    """Print what `submit` would write and run; sends nothing."""
    job = _job(context, arguments, flavour, fleet, name or "raytrain", address, working_dir)
    print(as_text(_render(flavour, job)), end="")


@app.command(context_settings=OWN_OPTIONS_FIRST)
def submit(
    context: typer.Context,
    arguments: Arguments,
    flavour: FlavourName = "address",
    fleet: FleetName = "local",
    name: Name = None,
    address: Address = LOCAL,
    working_dir: WorkingDir = None,
    records: Records = None,
    as_json: AsJson = False,
) -> None:
    """Run `raytrain COMMAND` on a cluster; returns before it ends."""
    from cluster.records import Record, default_folder, send

    chosen = name or f"raytrain-{os.urandom(4).hex()}"
    job = _job(context, arguments, flavour, fleet, chosen, address, working_dir)
    rendered = _render(flavour, job)
    folder = send(records or default_folder(), Record(flavour=flavour, job=job))
    lines = [command.line for command in rendered.commands]
    if as_json:
        told = {"id": job.name, "flavour": flavour, "folder": folder and str(folder), "commands": lines}
        print(json.dumps(told))
        return
    where = f" (in {folder})" if folder else ""
    print(f"submitted {job.name}\nsame as{where}:")
    print("".join(f"  {line}\n" for line in lines), end="")
    print(f"follow:   raytrain cluster logs {job.name} --follow")


@app.command()
def status(
    job: Annotated[str | None, typer.Argument(metavar="[ID]", help="One job; all if not given.")] = None,
    address: Address = LOCAL,
    records: Records = None,
    as_json: AsJson = False,
) -> None:
    """Say how a job is, or list all: those sent from here to clusters of their own, and --address's."""
    from rich.console import Console
    from rich.table import Table

    from cluster.errors import ClusterError
    from cluster.flavours import flavour
    from cluster.jobs import Jobs
    from cluster.records import default_folder, every

    root = records or default_folder()
    if job:
        record, folder = _record(root, job, address)
        states = [flavour(record.flavour).status(record.job, folder)]
    else:
        states = [flavour(record.flavour).status(record.job, folder) for record, folder in every(root)]
        try:
            states += Jobs(address).states()
        except ClusterError:
            if not states or address != LOCAL:  # who has jobs elsewhere need not have a Ray here
                raise
    if as_json:
        print(json.dumps(states[0].model_dump() if job else [state.model_dump() for state in states]))
        return
    if job:
        print(f"{states[0].line}\n{states[0].entrypoint}")
        return
    table = Table("job", "status", "command", box=None)
    for state in states:
        table.add_row(state.id, state.status, state.entrypoint)
    Console().print(table if states else "no jobs yet")


@app.command()
def logs(
    job: JobId,
    follow: Annotated[
        bool, typer.Option("--follow", help="Stay until it ends; exit code 0 if it succeeded, 1 if not.")
    ] = False,
    address: Address = LOCAL,
    records: Records = None,
) -> None:
    """Print what a job has printed."""
    from cluster.flavours import flavour
    from cluster.records import default_folder

    record, folder = _record(records or default_folder(), job, address)
    there = flavour(record.flavour)
    there.logs(record.job, folder, follow=follow, write=lambda text: print(text, end="", flush=True))
    if not follow:
        return
    state = there.status(record.job, folder)
    print(state.line, file=sys.stderr)
    if state.status != "SUCCEEDED":
        raise typer.Exit(1)


@app.command()
def stop(job: JobId, address: Address = LOCAL, records: Records = None, as_json: AsJson = False) -> None:
    """End a job, and give its machines back.

    On a running cluster Ray sends SIGTERM, and 3 s later (RAY_JOB_STOP_WAIT_TIME_S) kills it. For a checkpoint at a
    longer step, `touch OUT/stop` first (in S3: an object `stop`): the run ends by itself and can be continued.
    """
    from cluster.flavours import flavour
    from cluster.records import default_folder

    record, folder = _record(records or default_folder(), job, address)
    done = flavour(record.flavour).stop(record.job, folder)
    print(json.dumps({"id": job, "done": done}) if as_json else done)


def as_text(rendered: "Rendered") -> str:
    """Each file under its name, and the commands behind, as comments: with one file the text is that file."""
    parts = []
    for name, text in rendered.files.items():
        parts.append(text if len(rendered.files) == 1 else f"# {name}\n{text}")
    parts += [
        f"# {command.line}\n" if rendered.files else f"{command.line}\n" for command in rendered.commands
    ]
    return "".join(parts)


def _render(flavour_name: str, job: "Job") -> "Rendered":
    from cluster.flavours import flavour

    return flavour(flavour_name).render(job)


def _job(
    context: typer.Context,
    arguments: list[str],
    flavour: str,
    fleet: str,
    name: str,
    address: str,
    working_dir: Path | None,
) -> "Job":
    """`context.obj` is what checks a command of the program that this app is part of: it knows its own."""
    from importlib.metadata import version

    from cluster.errors import ClusterUsageError
    from cluster.flavours.base import Job
    from cluster.fleet import load_fleet

    if working_dir is not None and flavour not in ("address", "local"):
        raise ClusterUsageError(
            f"--working-dir {working_dir}: goes with flavour local or address; {flavour} sends no folder along"
        )
    folder = Path() if flavour == "local" and working_dir is None else working_dir
    if folder is not None and not folder.is_dir():
        raise ClusterUsageError(f"--working-dir {folder} is no folder")
    if context.obj is not None:
        context.obj(arguments, fleet)
    return Job(
        name=name,
        arguments=tuple(arguments),
        fleet=load_fleet(fleet),
        ray_version=version("ray"),
        address=address,
        working_dir=None if folder is None else str(folder.absolute()),
    )


def _record(root: Path, job: str, address: str) -> "tuple[Record, Path]":
    """What was sent from here under that name, or else a job of --address's cluster."""
    from cluster.flavours.base import Job
    from cluster.fleet import load_fleet
    from cluster.records import Record, find

    found = find(root, job)
    if found is not None:
        return found
    asked = Job(name=job, arguments=(), fleet=load_fleet("local"), ray_version="", address=address)
    return Record(flavour="address", job=asked), root / job
