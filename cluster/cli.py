"""`raytrain cluster`: submit a command to a running Ray cluster, follow it, stop it. Imports Ray only to run."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Submit to a running Ray cluster, follow, stop. A cluster with a token: set RAY_AUTH_MODE=token, and "
    "RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH.",
)

Address = Annotated[
    str,
    typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="The cluster's dashboard: http://host:8265."),
]
JobId = Annotated[str, typer.Argument(metavar="ID", help="The id that submit printed.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
LOCAL = "http://127.0.0.1:8265"


@app.command()
def submit(
    arguments: Annotated[
        list[str],
        typer.Argument(metavar="COMMAND", help="After `--`, a raytrain command, such as `train ...`."),
    ],
    address: Address = LOCAL,
    name: Annotated[
        str | None, typer.Option(help="The job's id: a-z, 0-9, '.', '_', '-'; new if not given.")
    ] = None,
    working_dir: Annotated[
        Path | None,
        typer.Option(
            help="A folder to send along and run in; paths in the command are the cluster's either way."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run `raytrain COMMAND` on the cluster's head node; returns at once."""
    from cluster.jobs import Jobs, submission

    job = submission(arguments, name=name, working_dir=working_dir, address=address)
    Jobs(address).submit(job)
    if as_json:
        print(json.dumps({**job.model_dump(), "command": job.command}))
        return
    print(f"submitted {job.id}\nsame as:  {job.command}\nfollow:   raytrain cluster logs {job.id} --follow")


@app.command()
def status(
    job: Annotated[str | None, typer.Argument(metavar="[ID]", help="One job; all if not given.")] = None,
    address: Address = LOCAL,
    as_json: AsJson = False,
) -> None:
    """Say how a job is, or list all."""
    from rich.console import Console
    from rich.table import Table

    from cluster.jobs import Jobs

    jobs = Jobs(address)
    states = [jobs.state(job)] if job else jobs.states()
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
) -> None:
    """Print what a job has printed."""
    from cluster.jobs import Jobs

    jobs = Jobs(address)
    if not follow:
        print(jobs.logs(job), end="")
        return
    state = jobs.follow(job, lambda text: print(text, end="", flush=True))
    print(state.line, file=sys.stderr)
    if state.status != "SUCCEEDED":
        raise typer.Exit(1)


@app.command()
def stop(job: JobId, address: Address = LOCAL, as_json: AsJson = False) -> None:
    """End a job.

    Ray sends SIGTERM, and 3 s later (the cluster's RAY_JOB_STOP_WAIT_TIME_S) kills it. For a checkpoint at a
    longer step, `touch OUT/stop` first: the run ends by itself and can be continued.
    """
    from cluster.jobs import Jobs

    jobs = Jobs(address)
    stopped = jobs.stop(job)
    if as_json:
        print(json.dumps({"id": job, "stopped": stopped}))
        return
    print(f"{job}: asked to stop" if stopped else f"{job}: had ended already ({jobs.state(job).status})")
