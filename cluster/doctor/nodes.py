"""Asking every node of a cluster: one actor on each, and a limit of seconds that names the node that is silent."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray import cloudpickle
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.doctor import ports, probe
from cluster.doctor.finding import Finding

START_SECONDS = 60.0
"""For a node's first answer: it starts a process for it."""

TRAVEL = (probe, ports)
"""Sent as source: a node that has another raytrain answers too."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node of the cluster: the name that people know it by, and what Ray counts on it."""

    name: str
    id: str
    address: str
    gpus: int


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What the nodes said, by name, and why the others said nothing."""

    said: dict[str, Any]
    silent: dict[str, str]

    def findings(self, check: str, fix: str) -> list[Finding]:
        """One per silent node."""
        return [
            Finding(check=check, node=name, state="bad", there=why, limit="an answer", fix=fix)
            for name, why in self.silent.items()
        ]


class Nodes:
    """The nodes that are alive, with an actor on each."""

    def __init__(self, nodes: list[Node], actors: dict[str, Any]) -> None:
        self.nodes = nodes
        self._actors = actors

    def only(self, *nodes: Node) -> "Nodes":
        """Some of them."""
        return Nodes(list(nodes), self._actors)

    def ask(
        self,
        function: Callable[..., Any],
        arguments: Callable[[Node], tuple[Any, ...]] = lambda _: (),
        seconds: float = START_SECONDS,
    ) -> Answers:
        """Call `function(*arguments(node))` on every node at once. What it raises is the reason of its silence."""
        asked = {
            node.name: self._actors[node.name].run.remote(function, *arguments(node)) for node in self.nodes
        }
        ready = ray.wait(list(asked.values()), num_returns=len(asked), timeout=seconds)[0] if asked else []
        said, silent = {}, {}
        for name, reference in asked.items():
            if reference not in ready:
                silent[name] = f"no answer in {seconds:g} s"
                continue
            try:
                said[name] = ray.get(reference)
            except RayTaskError as error:
                silent[name] = first_line(error.cause)
            except RayError as error:
                silent[name] = first_line(error)
        return Answers(said=said, silent=silent)


def first_line(error: BaseException) -> str:
    """What an error says, without the traceback that Ray puts behind it."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


@contextmanager
def all_nodes(gpu: bool = False) -> Iterator[Nodes]:
    """An actor on each node alive, until the end of the context; with `gpu` on those that have some, holding one."""
    for module in TRAVEL:
        cloudpickle.register_pickle_by_value(module)
    nodes = [node for node in known_nodes(ray.nodes()) if node.gpus or not gpu]
    actor = ray.remote(probe.Probe)
    actors = {
        node.name: actor.options(
            num_cpus=0,
            num_gpus=1 if gpu else 0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
        ).remote()
        for node in nodes
    }
    try:
        yield Nodes(nodes, actors)
    finally:
        for handle in actors.values():
            ray.kill(handle)


def known_nodes(listed: list[dict[str, Any]]) -> list[Node]:
    """Those alive of `ray.nodes()`, by name; names that are not unique get the node's id behind them."""
    alive = [node for node in listed if node["Alive"]]
    names = Counter(node["NodeManagerHostname"] for node in alive)
    found = []
    for node in alive:
        host, short = node["NodeManagerHostname"], node["NodeID"][:6]
        found.append(
            Node(
                name=host if names[host] == 1 else f"{host}/{short}",
                id=node["NodeID"],
                address=node["NodeManagerAddress"],
                gpus=int(node["Resources"].get("GPU", 0)),
            )
        )
    return sorted(found, key=lambda node: node.name)
