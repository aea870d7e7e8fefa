"""A run in S3, for hosts that share no disk: `--out s3://bucket/run`.

Its checkpoints lie there. What else a run's folder holds is written in a folder that each process has for itself, and
sent. Rank 0 has the logs: it sends them before each checkpoint, so that a checkpoint's ledger is never missing, and
every few seconds of the newest steps a little, for whoever looks. Each worker sends who it is, and its stacks. The
driver fetches these, and sends what it did; the readers of a run (`report`, `audit`) fetch all into ~/.raytrain/runs.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path

from data_shards.errors import DataError
from data_shards.store import NotFoundError, open_store
from data_shards.store.base import TakenError
from data_shards.store.s3 import S3Store
from raytrain.lease import LEASE
from raytrain.runlog import (
    EVALUATIONS,
    EVENTS,
    JOB,
    LAST_EVALUATION,
    LEDGER,
    METRICS,
    NEWEST_STEPS,
    PLAN,
    QUARANTINE,
    TRANSFER,
    keep_newest_steps,
)
from raytrain.stopping import STOP_FILE

SHOWN = (NEWEST_STEPS, TRANSFER, EVALUATIONS, EVENTS)
"""What shows how a run goes on, none of it long. The steps come before the evaluations that they are told with."""

LOGS = (*SHOWN, PLAN, JOB, METRICS, LAST_EVALUATION, LEDGER, QUARANTINE)
BOARD, WORKERS = "tensorboard/*", "workers/*"
LOOK_SECONDS = 5.0
ASKED_SECONDS = 0.5
"""Between two looks for a stop, in S3 a HEAD request each: Ray's jobs have 3 s from SIGTERM to SIGKILL."""


class Mirror:
    """One process's folder of a run, and the run at `url`. Without a URL the folder is the run: verbs do nothing."""

    def __init__(self, run: Path, url: str) -> None:
        self.run, self.url = run, url
        self.sent: dict[str, tuple[int, int]] = {}
        self.told, self.overtaken = False, threading.Event()
        self.busy = threading.RLock()

    @cached_property
    def store(self) -> S3Store:
        """The run at the URL."""
        return S3Store(self.url)

    def push(self, *names: str) -> None:
        """Send the files of these names, or patterns, that have changed since."""
        if not self.url:
            return
        with self.busy:
            for path in (path for name in names if name != EVENTS for path in sorted(self.run.glob(name))):
                self._send(path)
            if EVENTS in names:
                self._share_events()

    def pull(self, *names: str) -> None:
        """Fetch what is there of these names, or patterns."""
        if not self.url:
            return
        here = open_store(str(self.run))
        with self.busy:
            for key in self.store.list(""):
                if key != EVENTS and any(fnmatch(key, name) for name in names):
                    here.write(key, self.store.read(key))
                    self.sent[key] = _state(self.run / key)
            if EVENTS in names:
                self._share_events()

    def others(self) -> list[str]:
        """What lies at the URL that no run has put there, where there is no run."""
        keys = self.store.list("") if self.url else []
        return (
            [] if PLAN in keys else [key for key in keys if key != LEASE and key[0] != "."]
        )  # a doctor's marks

    def tell_stop(self) -> None:
        """Ask for a stop there, if one is asked for here. Not where another driver has taken over: it is its run."""
        with self.busy:
            asked = (self.run / STOP_FILE).exists()
            if asked and not self.told and not self.overtaken.is_set():
                self.store.write(STOP_FILE, b"")
            self.told = asked

    def hear_stop(self) -> None:
        """Ask for a stop here, if one is asked for there."""
        with suppress(NotFoundError):
            self.store.size(STOP_FILE)
            (self.run / STOP_FILE).touch()

    def forget_stop(self) -> None:
        """Nobody is asked to stop any more."""
        with self.busy:
            (self.run / STOP_FILE).unlink(missing_ok=True)
            if self.url:
                self.store.delete(STOP_FILE)
            self.told = False

    def _send(self, path: Path) -> None:
        name, state = path.relative_to(self.run).as_posix(), _state(path)
        if state != self.sent.get(name):
            self.store.write(name, path.read_bytes())
            self.sent[name] = state

    def _share_events(self) -> None:
        """The driver and rank 0 write some each, and both get all: added here, in the order of their times there."""
        while True:
            version, there = self._there(EVENTS)
            own = (self.run / EVENTS).read_bytes() if (self.run / EVENTS).exists() else b""
            theirs, ours = there.splitlines(True), own.splitlines(True)
            if new := [line for line in theirs if line not in set(ours)]:
                with (self.run / EVENTS).open("ab", buffering=0) as file:
                    file.write(b"".join(new))
            if {*ours} <= {*theirs}:
                return
            with suppress(TakenError):
                self.store.swap(EVENTS, b"".join(sorted({*ours, *theirs})), version)
                return

    def _there(self, key: str) -> tuple[str | None, bytes]:
        """The version and content of an object, or that there is none."""
        try:
            return self.store.version(key), self.store.read(key)
        except NotFoundError:
            return None, b""


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def fetched(out: Path | str) -> Path:
    """A run's folder as it can be read here: a folder itself, or a copy of what lies at s3://... of its logs."""
    url = url_of(out)
    if not url:
        return Path(out).absolute()
    run = Path.home() / ".raytrain" / "runs" / url.removeprefix("s3://")
    run.mkdir(parents=True, exist_ok=True)
    for name in LOGS:
        (run / name).unlink(missing_ok=True)
    Mirror(run, url).pull(*LOGS, WORKERS)
    return run


def url_of(out: Path | str) -> str:
    """The URL that `out` is, or nothing. A Path has lost one of the slashes."""
    return f"s3://{str(out)[3:].strip('/')}" if str(out).startswith("s3:/") else ""


def send_logs(mirror: Mirror, rank: int) -> None:
    """Send all that a worker has: of rank 0 that is the run's log."""
    if mirror.url and rank == 0:
        keep_newest_steps(mirror.run)
        mirror.push(*LOGS, BOARD)
    mirror.push(f"workers/rank-{rank}.*")


@contextmanager
def driving(mirror: Mirror) -> Iterator[None]:
    """The driver's side, while it lasts: what is shown of the run is fetched, and a stop is told to the workers.

    Whatever ends it, what the driver did is sent then.
    """
    with (
        _again_and_again(mirror.url, lambda: mirror.pull(*SHOWN), LOOK_SECONDS),
        _again_and_again(mirror.url, mirror.tell_stop, ASKED_SECONDS),
    ):
        try:
            yield
        finally:
            if not mirror.overtaken.is_set():
                mirror.push(EVENTS)


@contextmanager
def working(mirror: Mirror, rank: int) -> Iterator[None]:
    """A worker's side, while it lasts: rank 0 shows how the run goes on, and hears of a stop."""

    def look() -> None:
        mirror.push(f"workers/rank-{rank}.*")
        if rank == 0:
            keep_newest_steps(mirror.run)
            mirror.push(*SHOWN)

    def hear() -> None:
        if rank == 0:
            mirror.hear_stop()

    with (
        _again_and_again(mirror.url, look, LOOK_SECONDS),
        _again_and_again(mirror.url, hear, ASKED_SECONDS),
    ):
        yield


@contextmanager
def _again_and_again(url: str, look: Callable[[], None], every: float) -> Iterator[None]:
    """Call `look` at once and then again and again, in a thread; without a URL never.

    Where S3 does not answer, the next time will do.
    """
    over = threading.Event()

    def go_on() -> None:
        while True:
            with suppress(DataError):
                look()
            if over.wait(every):
                return

    thread = threading.Thread(target=go_on, daemon=True)
    if url:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if url:
            thread.join()
