"""A Ray head node of its own for a test: own ports, own folder, a token; ended by its id."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

BIN = Path(sys.executable).parent


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [held.getsockname()[1] for held in sockets]
    for held in sockets:
        held.close()
    return ports


@contextmanager
def ray_head(folder: Path, *, cpus: int = 2, jobs_api: bool = True) -> Iterator[dict[str, str]]:
    """A head of so many CPUs that asks for a token; yields the environment of a client that has it.

    Without its Jobs API it has no dashboard, as a Ray that a command starts for itself.
    """
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(16))
    gcs, dashboard, client, agent = free_ports(4)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT": "120",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
    }
    rays = tempfile.mkdtemp(prefix="rt", dir="/tmp")  # Ray's sockets bear no longer path
    command = (
        f"start --head --block --port {gcs} --dashboard-port {dashboard} --ray-client-server-port {client}"
    )
    command += f" --dashboard-host 127.0.0.1 --dashboard-agent-listen-port {agent} --num-cpus {cpus} --temp-dir {rays}"
    # workers take any port: among Ray's own, from 10002 on, another head's are met
    command += f" --include-dashboard {jobs_api} --min-worker-port 0 --max-worker-port 0"
    with (folder / "head.log").open("w") as log:
        head = subprocess.Popen(
            [BIN / "ray", *command.split(), "--disable-usage-stats"],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield {**environment, "RAY_ADDRESS": f"127.0.0.1:{gcs}"}
    finally:
        end(head)
        shutil.rmtree(rays, ignore_errors=True)


def end(head: subprocess.Popen[bytes]) -> None:
    """End the head and what it started."""
    started = psutil.Process(head.pid).children(recursive=True)
    os.killpg(head.pid, signal.SIGTERM)
    try:
        head.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(head.pid, signal.SIGKILL)
        head.wait()
    for process in started:
        if process.is_running():
            process.kill()


def raytrain(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would."""
    return subprocess.run(
        [BIN / "raytrain", *arguments], env=env, capture_output=True, text=True, timeout=900, check=False
    )


def listening(env: dict[str, str], seconds: float = 120) -> None:
    """Wait until the cluster can be joined: that is long before its Jobs API answers."""
    until = time.monotonic() + seconds
    host, port = env["RAY_ADDRESS"].split(":")
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            assert time.monotonic() < until, env["RAY_ADDRESS"]
            time.sleep(0.1)
        else:
            return


def answering(env: dict[str, str], seconds: float = 600) -> None:
    """Wait until the head's Jobs API answers."""
    until = time.monotonic() + seconds
    while (tried := raytrain("cluster", "status", env=env)).returncode != 0:
        assert time.monotonic() < until, tried.stderr
