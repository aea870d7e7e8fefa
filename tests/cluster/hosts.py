"""Hosts of their own on this machine: network namespaces on a bridge, each with an address, a name and a Ray node.

They share the disk and the process table, so a test can look at them and end them by id; what they do not share is the
loopback: whoever wants another host has to have its address right. An S3 server is at the bridge, where all reach it.
Needs root and a kernel with namespaces.
"""

import logging
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from moto.server import ThreadedMotoServer
from ray_head import BIN, end

PORT, S3_PORT = 6379, 5000


def why_not() -> str | None:
    """Why this machine cannot have hosts of its own, if so."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "network namespaces need root and iproute2"
    name = f"rt-try-{os.getpid()}"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"no network namespaces here: {tried.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", name], check=True)
    return None


class Hosts:
    """A Ray cluster of hosts, the first being its head. All `Popen`s are groups of their own."""

    def __init__(self, folder: Path, count: int, cpus: list[int]) -> None:
        self.folder, self.cpus = folder, cpus
        self.tag = f"{os.getpid() % 10000}"
        self.net = f"10.{100 + os.getpid() % 100}.0"
        self.names = [f"rt{self.tag}h{number}" for number in range(count)]
        self.nodes: dict[int, subprocess.Popen[bytes]] = {}
        self.s3 = ThreadedMotoServer(ip_address=f"{self.net}.1", port=S3_PORT, verbose=False)
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(16))
        self.rays = tempfile.mkdtemp(prefix="rt", dir="/tmp")  # Ray's sockets bear no longer path
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT": "120",
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
            "RAY_ADDRESS": f"{self.ip(0)}:{PORT}",
            "HOME": str(folder),
            "AWS_ENDPOINT_URL": f"http://{self.net}.1:{S3_PORT}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "RAY_raylet_start_wait_time_s": "180",
        }
        known = "".join(f"{self.ip(number)} host{number}\n" for number in range(count))
        (folder / "hosts").write_text(f"127.0.0.1 localhost\n{known}")

    def ip(self, number: int) -> str:
        """A host's address."""
        return f"{self.net}.{number + 10}"

    def wire(self) -> None:
        """Make the namespaces and the bridge between them; this machine is on it too."""
        bridge = f"rtbr{self.tag}"
        run(f"ip link add {bridge} type bridge")
        run(f"ip addr add {self.net}.1/24 dev {bridge}")
        run(f"ip link set {bridge} up")
        for number, name in enumerate(self.names):
            run(f"ip netns add {name}")
            run(f"ip link add {name}v type veth peer name eth0 netns {name}")
            run(f"ip link set {name}v master {bridge} up")
            run(f"ip -n {name} addr add {self.ip(number)}/24 dev eth0")
            run(f"ip -n {name} link set eth0 up")
            run(f"ip -n {name} link set lo up")

    def unwire(self) -> None:
        """Take all of it away."""
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "delete", f"rtbr{self.tag}"], check=False, capture_output=True)

    def serve(self) -> None:
        """Start the S3 server, with a bucket `hosts`."""
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line per request
        self.s3.start()
        bucket = urllib.request.Request(f"{self.environment['AWS_ENDPOINT_URL']}/hosts", method="PUT")
        urllib.request.urlopen(bucket).close()

    def raytrain(self, number: int, *arguments: str, **options: object) -> subprocess.Popen[bytes]:
        """Start the command on a host, as a user would."""
        return self.popen(number, str(BIN / "python"), "-m", "raytrain", *arguments, **options)

    def popen(self, number: int, *command: str, **options: object) -> subprocess.Popen[bytes]:
        """Start a command on a host."""
        inside = ["ip", "netns", "exec", self.names[number], "unshare", "--uts", "--mount", "sh", "-ec"]
        limits = "ulimit -S -n $(ulimit -H -n)"  # readers keep shards open
        named = f'{limits}; hostname host{number}; mount --bind {self.folder}/hosts /etc/hosts; exec "$@"'
        return subprocess.Popen(
            [*inside, named, "sh", *command], env=self.environment, start_new_session=True, **options
        )  # type: ignore[call-overload, no-any-return]

    def up(self, number: int) -> None:
        """Start a host's Ray node."""
        own = f"--node-ip-address={self.ip(number)} --num-cpus={self.cpus[number]} --disable-usage-stats --block"
        role = (
            f"--head --port={PORT} --temp-dir={self.rays}"
            if number == 0
            else f"--address={self.ip(0)}:{PORT}"
        )
        with (self.folder / f"host{number}.log").open("ab") as log:
            self.nodes[number] = self.popen(
                number, str(BIN / "ray"), "start", *role.split(), *own.split(), stdout=log, stderr=log
            )

    def processes(self, number: int) -> list[int]:
        """The ids of all processes on a host."""
        found = subprocess.run(
            ["ip", "netns", "pids", self.names[number]], capture_output=True, text=True, check=True
        )
        return [int(line) for line in found.stdout.split()]

    def kill(self, number: int) -> None:
        """Lose a host: SIGKILL to all that runs there, at once."""
        for pid in self.processes(number):
            os.kill(pid, signal.SIGKILL)
        self.nodes.pop(number).wait()

    def started(self, number: int, seconds: float) -> None:
        """Wait until a host's Ray node says that it runs."""
        log, until = self.folder / f"host{number}.log", time.monotonic() + seconds
        while "will now block forever" not in log.read_text():
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.2)

    def alive(self) -> int:
        """How many nodes the head counts, 0 before it answers."""
        code = (
            "import ray; ray.init('auto', logging_level='ERROR'); print(sum(n['Alive'] for n in ray.nodes()))"
        )
        asked = self.popen(
            0, str(BIN / "python"), "-c", code, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        said = asked.communicate(timeout=120)[0].split()
        return int(said[-1]) if asked.returncode == 0 else 0

    def wait(self, count: int, seconds: float = 300) -> None:
        """Wait until the head counts so many nodes."""
        until = time.monotonic() + seconds
        while (alive := self.alive()) != count:
            assert time.monotonic() < until, f"{alive} of {count} hosts are there: {self.folder}/host*.log"


def run(command: str) -> None:
    """Run one of `ip`'s commands."""
    subprocess.run(command.split(), check=True)


@contextmanager
def hosts(folder: Path, cpus: list[int], seconds: float = 300) -> Iterator[Hosts]:
    """A cluster of as many hosts as `cpus` has numbers, all up."""
    made = Hosts(folder, len(cpus), cpus)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, made.rays, ignore_errors=True)
        stack.callback(made.unwire)
        made.wire()
        stack.callback(made.s3.stop)
        made.serve()
        stack.callback(lambda: [end(node) for node in made.nodes.values()])
        for number in range(len(cpus)):  # one by one: they share the folder in which their sockets are named
            made.up(number)
            made.started(number, seconds)
        made.wait(len(cpus), seconds)
        yield made
