"""kill -9 at a chosen system call of a save, injected by strace. All crash points: `python tests/raytrain/crash.py`."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from data_shards.store import Store, open_store
from raytrain import checkpoint
from raytrain.manifest import complete_steps, newest, started_steps

HERE = Path(__file__).parent
DISK = ("write", "fsync", "rename", "unlink", "rmdir", "mkdir", "openat", "fchmod", "close")
"""Whatever a save asks of a disk."""

S3 = ("sendto",)
"""What it asks of S3: a request, or a piece of an upload."""


def why_not() -> str | None:
    """Why this machine can inject nothing, if so."""
    if shutil.which("strace") is None:
        return "strace is not installed (apt-get install strace)"
    tried = subprocess.run(
        ["strace", "-o", os.devnull, "-e", "inject=getpid:retval=7", "true"], capture_output=True, text=True
    )
    return f"strace may not trace here: {tried.stderr.strip()}" if tried.returncode else None


class Saves:
    """A process that saves on demand, and is killed where it is told to be."""

    def __init__(self, logs: Path, kib: int = 16) -> None:
        """`logs` gets the events; weights take `kib`."""
        self.logs, self.kib = logs, kib
        environment = os.environ | {"PYTHONPATH": f"{HERE}:{HERE.parent.parent}"}
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "crash_child.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def save(self, url: str, step: int, kill: tuple[str, int] | None = None) -> bool:
        """Save; with `kill=(call, n)` SIGKILL comes at its n-th such call. Whether it came through."""
        print(url, self.logs, step, self.kib, file=self._stdin, flush=True)
        pid = int(self._stdout.readline())
        if kill is None:
            os.kill(pid, signal.SIGCONT)
        else:
            call, number = kill
            inject = f"inject={call}:signal=SIGKILL:when={number}"
            strace = subprocess.Popen(
                ["strace", "-f", "-o", os.devnull, "-e", f"trace={call}", "-e", inject, "-p", str(pid)],
                stderr=subprocess.PIPE,
                text=True,
            )
            assert strace.stderr is not None
            assert "attached" in (said := strace.stderr.readline()), said
            os.kill(pid, signal.SIGCONT)
            strace.communicate()
        ended = int(self._stdout.readline())
        assert ended in (0, -signal.SIGKILL), f"the save ended with {ended}"
        return ended == 0

    @property
    def _stdin(self) -> IO[str]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _stdout(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout

    def __enter__(self) -> "Saves":
        return self

    def __exit__(self, *_: object) -> None:
        self._stdin.close()
        self._process.wait()


@contextmanager
def s3_server() -> Iterator[str]:
    """URL of a bucket of an S3 server on this machine."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line per request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    os.environ.update(
        AWS_ENDPOINT_URL=endpoint, AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test",
        AWS_DEFAULT_REGION="us-east-1",
    )  # fmt: skip
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/crashes", method="PUT")).close()
    yield "s3://crashes"
    server.stop()


def loadable(store: Store) -> int:
    """The step of the newest checkpoint, which has to be whole and all of one step; none may be damaged."""
    found, passed = newest(store)
    assert found is not None
    assert passed == []
    state, engine = checkpoint.load_engine(found)
    assert engine.ema is not None
    values = {
        float(value)
        for tensors in (engine.model, engine.moments["w"], engine.ema)
        for value in next(iter(tensors.values())).unique()
    }
    assert values == {float(found.manifest.step)} == {float(state.step)} == {float(engine.applied)}
    return found.manifest.step


def crash(saves: Saves, before: Store, after: Store, call: str, number: int) -> bool:
    """Whether the save of step 20 has such a call. Then it was killed there, and all was well."""
    for key in before.list("checkpoints/"):
        after.write(key, before.read(key))
    if saves.save(after.url, 20, (call, number)):
        return False
    step = loadable(after)
    assert step in (15, 20), step
    assert saves.save(after.url, 20), "the same save, once more"
    assert loadable(after) == 20
    assert complete_steps(after) == [10, 15, 20]
    assert started_steps(after) == [10, 15, 20]
    assert after.unfinished("checkpoints/") == (), "debris of the killed save"
    return True


def points(
    saves: Saves,
    root: str,
    calls: tuple[str, ...],
    say: Callable[[str], None] = lambda _: None,
    each: int = 1,
) -> int:
    """How many crash points were tried under `root`, every `each`-th of them."""
    before = open_store(f"{root}/before")
    for step in (5, 10, 15):
        assert saves.save(before.url, step)
    tried = 0
    for call in calls:
        number = 1
        while crash(saves, before, open_store(f"{root}/{call}-{number}"), call, number):
            number += each
        tried += (number - 1) // each
        say(f"{call}: {(number - 1) // each} crash points, all left a checkpoint that loads")
    return tried


def main() -> None:
    reason = why_not()
    if reason:
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as scratch, s3_server() as bucket:
        logs = Path(scratch)
        with Saves(logs) as saves:
            disk = points(saves, f"{scratch}/disk", DISK, print)
            s3 = points(saves, f"{bucket}/small", S3, print)
        with Saves(logs, kib=9 * 1024) as saves:  # boto3 cuts at 8 MiB
            parts = points(saves, f"{bucket}/parts", S3, print, each=6)
    print(f"{disk} crash points on a disk, {s3} in S3, and {parts} with uploads of two parts (every 6th)")


if __name__ == "__main__":
    main()
