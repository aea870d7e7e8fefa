"""`raytrain cluster doctor`: what of a cluster would fail a run an hour later, and what mends it."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from raytrain.cli.options import Address, AsJson, FleetName

if TYPE_CHECKING:
    from cluster.doctor.finding import Finding
    from cluster.doctor.nodes import Nodes
    from cluster.fleet import Fleet

app = typer.Typer(add_completion=False)
LOG_WIDTH = 150
"""Columns where there is no terminal that says how many it has."""


@app.command()
def doctor(
    fleet: FleetName = "local",
    address: Address = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="URL", help="Read of these shards on every node, too.")
    ] = None,
    out: Annotated[
        str | None, typer.Option("--out", help="Write and read there from every node, too.")
    ] = None,
    security: Annotated[bool, typer.Option("--security", help="Look at who gets in, instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Examine a cluster, or this machine. Exit code 0: nothing bad, 1: something is, or no cluster answers."""
    from cluster.connect import connected, room_in_time
    from cluster.doctor.finding import as_table, in_all, worst
    from cluster.doctor.nodes import all_nodes
    from cluster.doctor.security import security as guarded
    from cluster.fleet import load_fleet

    wanted = load_fleet(fleet)
    with connected(address, {}):
        room_in_time(wanted.workers, wanted.cpus_per_worker, wanted.gpu)
        with all_nodes() as nodes:
            found = guarded(nodes) if security else examined(nodes, wanted, data, out)
    if as_json:
        import json

        print(json.dumps([one.model_dump() for one in found], indent=1))
    else:
        from rich.console import Console

        Console(width=None if sys.stdout.isatty() else LOG_WIDTH).print(as_table(found))
        print(in_all(found))
    if worst(found) == "bad":
        raise typer.Exit(1)


def examined(nodes: "Nodes", fleet: "Fleet", data: str | None, out: str | None) -> "list[Finding]":
    """The machines, then the data and the run's folder, where they are named."""
    import time

    from cluster.doctor.examine import machines
    from raytrain.preflight import cache_bytes, shards, storage
    from raytrain.session import absolute

    url = absolute(data) if data else None
    found = machines(nodes, fleet, cache_bytes(url, len(nodes.nodes)) if url else 0)
    found += storage(nodes, absolute(out)) if out else []
    return found + (shards(nodes, url, seed=time.time_ns(), whole=True) if url else [])
