"""What Ray's processes on a node listen on, and what each of them says to somebody without the token.

Like probe.py this travels to the nodes as source; psutil and grpc come with Ray. Nothing that is asked here changes
anything, whoever answers.
"""

import os
import re
import socket
import stat
from pathlib import Path
from typing import Any

SECONDS = 3.0
HARMLESS = (
    "/ray.rpc.NodeInfoGcsService/CheckAlive",
    "/ray.rpc.NodeManagerService/GetNodeStats",
    "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
    "/ray.rpc.RayletDriver/ClusterInfo",
    "/ray.rpc.ReporterService/HealthCheck",
    "/ray.rpc.ObjectManagerService/Pull",  # of an object without a name, which nobody has
)
"""A method of each gRPC service that Ray 2.58 listens with (ray/core/generated/*_pb2_grpc.py, and in the raylet)."""
KEYS = re.compile(
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"  # docs.aws.amazon.com/IAM, "unique identifiers": of users, and temporary ones
    r"|(?:AWS_SECRET_ACCESS_KEY|AWS_SESSION_TOKEN|RAY_AUTH_TOKEN)\W{1,5}[A-Za-z0-9+/_-]{8,}"
)
STATIC = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


def secrets_in(text: str) -> list[str]:
    """The names of what looks like a secret, and the first four letters of a key's id: never the secret."""
    found = (re.split(r"\W", match)[0] for match in KEYS.findall(text))
    return sorted({f"{name[:4]}..." if name.startswith(("AKIA", "ASIA")) else name for name in found})


def guard(session: str, node: str) -> dict[str, Any]:
    """Of this node's Ray: listeners with their replies, the token's file, and secrets in sight of others."""
    import psutil

    raylet = psutil.Process(os.getppid())
    processes = of_session(raylet, session)
    return {
        "listeners": [
            {**one, "reply": reply(one["address"], one["port"], {}, node)} for one in listeners(processes)
        ],
        "addresses": sorted(
            address.address.partition("%")[0]
            for addresses in psutil.net_if_addrs().values()
            for address in addresses
            if address.family in (socket.AF_INET, socket.AF_INET6)
        ),
        "token": token_file(raylet.environ()),
        "static": [name for name in STATIC if name in raylet.environ()],
        "argv": sorted({name for process in processes for name in secrets_in(" ".join(process.cmdline()))}),
    }


def of_session(raylet: Any, session: str) -> list[Any]:
    """Ray's processes beside this raylet: its children, its parent, and whoever names the session."""
    import psutil

    found = {
        process.pid: process for process in [raylet, *raylet.children(recursive=True), *raylet.parents()[:1]]
    }
    gcs = next((word for word in raylet.cmdline() if word.startswith("--gcs-address=")), session)
    mine = os.readlink("/proc/self/ns/net")
    for process in psutil.process_iter():
        try:
            words = " ".join(process.cmdline())
            if session in words or (gcs.partition("=")[2] in words and "ray" in words):
                found[process.pid] = process
        except (psutil.Error, OSError):
            continue
    return [process for process in found.values() if _in(process.pid, mine)]


def _in(pid: int, network: str) -> bool:
    try:
        return pid != os.getpid() and os.readlink(f"/proc/{pid}/ns/net") == network
    except OSError:  # gone, or another user's
        return False


def listeners(processes: list[Any]) -> list[dict[str, Any]]:
    """Address, port and what listens there, by port."""
    import psutil

    found = {}
    for process in processes:
        try:
            for connection in process.net_connections(kind="tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    address, port = connection.laddr.ip.removeprefix("::ffff:"), connection.laddr.port
                    found[address, port] = {"address": address, "port": port, "what": what(process.cmdline())}
        except psutil.Error:
            continue
    return sorted(found.values(), key=lambda one: (one["what"], one["port"], one["address"]))


def what(command: list[str]) -> str:
    """A name for one of Ray's processes."""
    words = " ".join(command)
    for sign, name in (
        ("gcs/gcs_server", "GCS"),
        ("raylet/raylet", "raylet"),
        ("dashboard/dashboard.py", "dashboard"),
        ("ray.util.client.server", "Ray Client"),
        ("monitor.py", "autoscaler"),
        ("ray::DashboardAgent", "agent"),
        ("ray::RuntimeEnvAgent", "runtime environments"),
        ("ray::", "worker"),
    ):
        if sign in words:
            return name
    return "driver"


def reply(address: str, port: int, headers: dict[str, str], node: str) -> str:
    """What it says to a call with these headers: refused, open, metrics (Prometheus' text), or silence."""
    host = node if address in ("0.0.0.0", "::") else address  # noqa: S104
    http = over_http(host, port, headers)
    return over_grpc(host, port, headers) if http is None else http


def over_http(host: str, port: int, headers: dict[str, str]) -> str | None:
    """As `reply`; None where no HTTP is spoken. Ray refuses before it looks whether there is such a page."""
    lines = "".join(
        f"{name}: {value}\r\n" for name, value in {"Host": "ray", "Connection": "close", **headers}.items()
    )
    heard = b""
    try:
        with socket.create_connection((host, port), timeout=SECONDS) as peer:
            peer.sendall(f"GET /api/version HTTP/1.1\r\n{lines}\r\n".encode())
            while len(heard) < 4096 and (chunk := peer.recv(4096)):
                heard += chunk
                if not heard.startswith(b"HTTP/"[: len(heard)]):
                    return None
    except OSError:
        pass
    if not heard.startswith(b"HTTP/"):
        return None
    if heard.split(b" ")[1] in (b"401", b"403"):
        return "refused"
    return "metrics" if b"# HELP" in heard or b"version=0.0.4" in heard else "open"


def over_grpc(host: str, port: int, headers: dict[str, str]) -> str:
    """As `reply`: the first of HARMLESS that it knows decides."""
    import grpc

    metadata = tuple((name.lower(), value) for name, value in headers.items())
    with grpc.insecure_channel(f"{host}:{port}") as channel:
        for method in HARMLESS:
            try:
                channel.unary_unary(method)(b"", metadata=metadata, timeout=SECONDS)
            except grpc.RpcError as error:
                code = error.code()
                if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
                    return "refused"
                if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    return "silence"
                if code == grpc.StatusCode.UNIMPLEMENTED:
                    continue
            return "open"
    return "silence"


def token_file(environment: dict[str, str]) -> dict[str, Any]:
    """Where this Ray has its token from, and who may read that file; `others` is None where there is no file."""
    if environment.get("RAY_AUTH_TOKEN"):
        return {"path": "RAY_AUTH_TOKEN", "others": None}
    home = Path(environment.get("HOME", "/")) / ".ray" / "auth_token"
    path = Path(environment.get("RAY_AUTH_TOKEN_PATH") or home)
    try:
        return {"path": str(path), "others": stat.S_IMODE(path.stat().st_mode) & 0o077}
    except OSError:
        return {"path": f"no {path}", "others": None}
