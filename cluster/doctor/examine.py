"""The examination: every check of the machines, in the order of what fails first."""

import time
from collections.abc import Callable

import ray

from cluster.connect import room
from cluster.doctor import probe
from cluster.doctor.finding import Finding, judged, many
from cluster.doctor.machines import Facts, cache_disk, clocks, gpus, limits, same_versions
from cluster.doctor.nodes import Nodes, all_nodes
from cluster.doctor.reach import pairs, together
from cluster.fleet import Fleet

LATE = "is it alive, and has it memory to start a process?"


def machines(nodes: Nodes, fleet: Fleet, cache: int) -> list[Finding]:
    """All that can be told without data. `cache` is what an epoch fetches on a node, in bytes."""
    facts, found = quick(nodes, cache)
    found = [fits(fleet), *found]
    nodes = nodes.only(*(node for node in nodes.nodes if node.name in facts))
    found += gpus(facts, {node.name: node.gpus for node in nodes.nodes}, fleet)
    found += limits(facts) + skews(nodes, time.time) + pairs(nodes)
    if not fleet.gpu:
        return found + together(nodes, gpu=False)
    with all_nodes(gpu=True) as holding:
        return found + together(holding, gpu=True)


def quick(nodes: Nodes, cache: int) -> tuple[Facts, list[Finding]]:
    """What is asked before every run: versions and disk. And what the nodes said, those that answered."""
    asked = nodes.ask(probe.look)
    found = asked.findings("answer", LATE)
    found += same_versions(asked.said, probe.versions())
    found += cache_disk(asked.said, cache)
    return asked.said, found


def fits(fleet: Fleet) -> Finding:
    """Whether the cluster has room for the fleet's workers when it is empty."""
    there, wanted = room(fleet.cpus_per_worker, fleet.gpu), fleet.workers
    need = f"{fleet.cpus_per_worker} CPU" + (" + 1 GPU" if fleet.gpu else "")
    alive = sum(node["Alive"] for node in ray.nodes())
    return judged(
        "room", "cluster", bad=there < wanted, there=f"{many(there, 'worker')} of {need} on {many(alive, 'node')}",
        limit=f"{many(wanted, 'worker')}, fleet '{fleet.name}'",
        fix=f"a fleet of {many(there, 'worker')} fits" if there else "add machines, or a fleet whose workers need less",
    )  # fmt: skip


def skews(nodes: Nodes, clock: Callable[[], float]) -> list[Finding]:
    """The clocks, one node after the other: what a question takes, nobody can tell from its half."""
    told, unsure, silent = {}, {}, []
    for node in nodes.nodes:
        began = clock()
        asked = nodes.only(node).ask(probe.clock)
        took = clock() - began
        silent += asked.findings("clock", LATE)
        for name, said in asked.said.items():
            told[name], unsure[name] = said - began - took / 2, took / 2
    return clocks(told, unsure) + silent
