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
def ray_head(
    folder: Path, *, cpus: int = 2, jobs_api: bool = True, asks: bool = True, **more: str
) -> Iterator[dict[str, str]]:
    """A head of so many CPUs that asks for a token; yields the environment of a client that has it.

    Without its Jobs API it has no dashboard, as a Ray that a command starts for itself. Where it asks for none it is
    Ray as it comes. `more` is in the environment of both.
    """
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(16))
    gcs, dashboard, client, agent = free_ports(4)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "PATH": f"{BIN}:{os.environ['PATH']}",
        **({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)} if asks else {}),
        "RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT": "120",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
        **more,
    }
    rays = tempfile.mkdtemp(prefix="rt", dir="/tmp")  # Ray's sockets bear no longer path
    command = (
        f"start --head --block --port {gcs} --dashboard-port {dashboard} --ray-client-server-port {client}"
    )
    command += f" --dashboard-host 127.0.0.1 --dashboard-agent-listen-port {agent} --num-cpus {cpus} --temp-dir {rays}"
    # workers take any port: among Ray's own, from 10002 on, another head's are met
    command += f" --include-dashboard {jobs_api} --min-worker-port 0 --max-worker-port 0"
    head = up([str(BIN / "ray"), *command.split(), "--disable-usage-stats"], environment, folder / "head.log")
    try:
        yield {**environment, "RAY_ADDRESS": f"127.0.0.1:{gcs}", "HEAD_FOLDER": rays}
    finally:
        end(head)
        shutil.rmtree(rays, ignore_errors=True)


def up(command: list[str], environment: dict[str, str], log: Path, tries: int = 5) -> subprocess.Popen[bytes]:
    """Start a head and wait until all of it runs.

    On a busy machine Ray's client server gives up after 30 s, and takes the head along (ray/_private/services.py,
    get_node_with_retry; nothing sets another limit): then another try.
    """
    for _ in range(tries):
        with log.open("w") as file:
            head = subprocess.Popen(
                command, env=environment, stdout=file, stderr=file, start_new_session=True
            )
        while head.poll() is None and "will now block forever" not in log.read_text():
            time.sleep(0.2)
        try:
            head.wait(2)  # it looks at its processes once a second
        except subprocess.TimeoutExpired:
            return head
    raise AssertionError(log.read_text())


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
