"""Whether the nodes reach each other: a connection between every two, both ways, and a sum over all."""

from cluster.doctor import probe
from cluster.doctor.finding import Finding
from cluster.doctor.nodes import Node, Nodes

CONNECT_SECONDS = 5.0
REDUCE_SECONDS = 120.0
"""It imports torch on every node, which takes 10 s and more on a cold disk."""
FIREWALL = "let the nodes reach each other on all TCP ports (security group, firewall, NetworkPolicy)"


def pairs(nodes: Nodes) -> list[Finding]:
    """Each node connects to each other one, at a port as random as gloo's and NCCL's are."""
    if len(nodes.nodes) < 2:
        return []
    opened = nodes.ask(probe.answer, lambda node: (node.address,))
    places = {
        node.name: (node.address, opened.said[node.name]) for node in nodes.nodes if node.name in opened.said
    }

    def others(node: Node) -> tuple[dict[str, tuple[str, int]], float]:
        return {name: place for name, place in places.items() if name != node.name}, CONNECT_SECONDS

    tried = nodes.ask(probe.knock, others, CONNECT_SECONDS * len(places) + CONNECT_SECONDS)
    findings = opened.findings("reach", "is the node alive?") + tried.findings("reach", "is the node alive?")
    for name, problems in tried.said.items():
        findings += [
            Finding(check="reach", node=name, state="bad", there=f"cannot reach {peer}, {why}", limit="a connection",
                    fix=FIREWALL)
            for peer, why in problems.items()
        ]  # fmt: skip
    count = len(places) * (len(places) - 1)
    return findings or [
        Finding(check="reach", state="ok", there=f"{count} of {count} pairs connect", limit="all pairs")
    ]


def together(nodes: Nodes, gpu: bool) -> list[Finding]:
    """A sum over all nodes by the library that training uses: NCCL between GPUs, gloo else."""
    count = len(nodes.nodes)
    if count < 2:
        return []
    backend, first = "nccl" if gpu else "gloo", nodes.nodes[0]
    opened = nodes.only(first).ask(probe.free_port, lambda node: (node.address,))
    port = opened.said.get(first.name, 0)
    rank = {node.name: number for number, node in enumerate(nodes.nodes)}

    def arguments(node: Node) -> tuple[object, ...]:
        return backend, first.address, port, rank[node.name], count, REDUCE_SECONDS

    summed = nodes.ask(probe.all_reduce, arguments, REDUCE_SECONDS)
    right = count * (count + 1) / 2
    wrong = [
        Finding(
            check=backend,
            node=name,
            state="bad",
            there=f"a sum of {total:g}",
            limit=f"{right:g}",
            fix=FIREWALL,
        )
        for name, total in summed.said.items()
        if total != right
    ]
    free = "free a GPU of each node for this; " if gpu else ""
    fix = f"{free}{FIREWALL}; with several interfaces name one: {backend.upper()}_SOCKET_IFNAME"
    return [*summed.findings(backend, fix), *wrong] or [
        Finding(check=backend, state="ok", there=f"a sum over {count} nodes", limit=f"{right:g} on each")
    ]
