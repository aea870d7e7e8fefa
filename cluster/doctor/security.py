"""Who gets into a cluster that runs: what its processes say to somebody without the token, and what they show."""

from ipaddress import ip_address
from typing import Any

from ray._private.worker import global_worker
from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_list

from cluster.doctor import ports
from cluster.doctor.finding import Finding, judged, many
from cluster.doctor.nodes import Nodes

GUARD_SECONDS = 120.0
WITH_TOKEN = "RAY_AUTH_MODE=token and a token for every node, before `ray start` (docs/clusters/address.md)"  # noqa: S105
FROM_THE_CHAIN = "take keys from a role of the machine or pod, or from ~/.aws on each node"


def security(nodes: Nodes) -> list[Finding]:
    """All checks of a cluster that this process is connected to."""
    session = global_worker.node.session_name
    asked = nodes.ask(ports.guard, lambda node: (session, node.address), GUARD_SECONDS)
    found = asked.findings("answer", "is it alive? Without an answer nothing is known of it")
    for node, said in asked.said.items():
        found += [endpoints(node, said["listeners"]), metrics(node, said["listeners"])]
        found += [listening(node, said["listeners"], said["addresses"]), token_file(node, said["token"])]
        found += environment(node, said["static"], said["argv"])
    return found + jobs(job_texts())


def endpoints(node: str, listeners: list[dict[str, Any]]) -> Finding:
    """Whether every endpoint refuses a call without a token."""
    kinds: dict[str, list[str]] = {}
    for one in listeners:
        kinds.setdefault(one["reply"], []).append(f"{one['what']} {at(one)}")
    unknown = kinds.get("silence", [])
    refused = f"{len(kinds.get('refused', []))} refuse it"
    there = [f"answer it: {', '.join(kinds['open'])}"] if "open" in kinds else [refused]
    there += [f"said nothing: {', '.join(unknown)}"] if unknown else []
    return judged(
        "call without token", node, bad="open" in kinds, warn=bool(unknown), there="; ".join(there),
        limit="refused by every endpoint", fix=WITH_TOKEN if "open" in kinds else "close what is not Ray's",
    )  # fmt: skip


def metrics(node: str, listeners: list[dict[str, Any]]) -> Finding:
    """Prometheus' exporters ask nobody for a token: whoever reaches them reads names of tasks, and loads."""
    exporters = [one for one in listeners if one["reply"] == "metrics"]
    beyond = [at(one) for one in exporters if not ip_address(one["address"]).is_loopback]
    return judged(
        "metrics without token", node, bad=False, warn=bool(beyond),
        there=", ".join(beyond) or (f"{len(exporters)} on loopback" if exporters else "none"),
        limit="loopback, or a closed network", fix="Ray has no token for them: keep these ports inside of one network",
    )  # fmt: skip


def listening(node: str, listeners: list[dict[str, Any]], own: list[str]) -> Finding:
    """Whether all that Ray listens on are loopback or private addresses. Ray's `0.0.0.0` is every one of the host."""
    bound = {ip_address(one["address"]) for one in listeners}
    reached = {ip_address(address) for address in own} if any(one.is_unspecified for one in bound) else bound
    public = sorted(
        str(address) for address in reached if not address.is_private and not address.is_link_local
    )
    everywhere = f"all addresses, of which {len(reached)} are private or loopback"
    private = "loopback" if all(one.is_loopback for one in reached) else everywhere
    return judged(
        "listeners", node, bad=bool(public), there=", ".join(public) or private, limit="private or loopback addresses",
        fix="a machine without a public address, or a security group that closes all ports to the world",
    )  # fmt: skip


def token_file(node: str, token: dict[str, Any]) -> Finding:
    """Whether the token's file is its user's only. Ray's own `get-auth-token --generate` makes it 0644."""
    path, others = token["path"], token["others"]
    mode = "" if others is None else f", 0{others | 0o600:o}"
    return judged(
        "token file", node, bad=bool(others), there=path + mode, limit="mode 0600, or no file",
        fix=f"chmod 600 {path}",
    )  # fmt: skip


def environment(node: str, static: list[str], argv: list[str]) -> list[Finding]:
    """Whether keys stand in Ray's environment, which every task has, or in its processes' arguments."""
    return [
        judged(
            "keys in the environment", node, bad=False, warn=bool(static), there=", ".join(static) or "none",
            limit="none: every task of every user of this Ray has them", fix=FROM_THE_CHAIN,
        ),
        judged(
            "keys in arguments", node, bad=bool(argv), there=", ".join(argv) or "none",
            limit="none: every user of the machine reads them", fix=FROM_THE_CHAIN,
        ),
    ]  # fmt: skip


def jobs(texts: dict[str, str]) -> list[Finding]:
    """Whether what a job carries (command, runtime_env, metadata), which the Jobs API tells, holds a key."""
    leaky = {job: ports.secrets_in(text) for job, text in texts.items()}
    return [
        judged(
            "keys in jobs", "cluster", bad=True, there=f"job {job}: {', '.join(names)}",
            limit="none: the Jobs API and the dashboard tell them", fix=f"make new keys, then {FROM_THE_CHAIN}",
        )
        for job, names in leaky.items()
        if names
    ] or [
        Finding(check="keys in jobs", state="ok", there=f"none in {many(len(texts), 'job')}", limit="none")
    ]  # fmt: skip


def job_texts() -> dict[str, str]:
    """What the head remembers of every job, connected (01000000) and submitted (by its name)."""
    connected = global_worker.gcs_client.get_all_job_info(timeout=30)
    texts = {info.job_id.hex(): str(info) for info in connected.values()}
    for key in _internal_kv_list(b"_ray_internal_job_info_", namespace=b"job"):
        texts[key.decode().rpartition("job_info_")[2]] = (
            _internal_kv_get(key, namespace=b"job") or b""
        ).decode()
    return texts


def at(listener: dict[str, Any]) -> str:
    """Address and port of a listener."""
    host = listener["address"]
    return f"{f'[{host}]' if ':' in host else host}:{listener['port']}"
