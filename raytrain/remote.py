"""A run in S3, for hosts that share no disk: `--out s3://bucket/run`.

Its checkpoints lie there. Its logs are written in a folder of the host that rank 0 is on, and sent along with each
checkpoint, before it: a checkpoint's ledger is never missing. The driver and the readers of a run (`report`, `audit`)
fetch them into a folder of theirs. TensorBoard's files stay where rank 0 was.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree

from data_shards.errors import DataError
from data_shards.store import NotFoundError, Store, open_store
from raytrain.lease import LEASE
from raytrain.runlog import (
    EVALUATIONS,
    EVENTS,
    JOB,
    LAST_EVALUATION,
    LEDGER,
    METRICS,
    PLAN,
    QUARANTINE,
    TRANSFER,
)
from raytrain.stopping import STOP_FILE

NAMES = (PLAN, JOB, METRICS, EVALUATIONS, LAST_EVALUATION, LEDGER, QUARANTINE, TRANSFER)
LOOK_SECONDS = 2.0


class Mirror:
    """A run's folder here, and the run at `url`. Without a URL the folder is the run, and nothing is to be done."""

    def __init__(self, run: Path, url: str) -> None:
        self.run, self.url, self.store = run, url, open_store(url) if url else None
        self.sent: dict[str, tuple[int, int]] = {}

    def push(self) -> None:
        """Send the files that have changed since."""
        if self.store is None:
            return
        for name in (*NAMES, EVENTS):
            path = self.run / name
            if path.exists() and (state := _state(path)) != self.sent.get(name):
                self.store.write(name, path.read_bytes())
                self.sent[name] = state

    def others(self) -> list[str]:
        """What lies at the URL that no run has put there, where there is no run."""
        keys = [] if self.store is None else self.store.list("")
        return [] if PLAN in keys else [key for key in keys if key != LEASE]

    def _clear(self) -> None:
        """Of a run that lay at the URL once, nothing is kept: the folder stands for what is there."""
        for path in self.run.glob("[!.]*"):
            if path.is_dir():
                rmtree(path)
            else:
                path.unlink()

    def pull(self) -> None:
        """Fetch what is there. The driver and rank 0 each have events: all are kept, by their times."""
        if self.store is None:
            return
        if not self.store.list(PLAN):
            self._clear()
        here = open_store(str(self.run))
        for name in NAMES:
            with suppress(NotFoundError):
                here.write(name, self.store.read(name))
        with suppress(NotFoundError):
            there = self.store.read(EVENTS)
            own = (self.run / EVENTS).read_bytes() if (self.run / EVENTS).exists() else b""
            here.write(EVENTS, b"".join(sorted({*there.splitlines(True), *own.splitlines(True)})))


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def folder_of(url: str) -> Path:
    """The folder that stands here for a run in S3, of this user's."""
    return Path.home() / ".raytrain" / "runs" / url.removeprefix("s3://").rstrip("/")


def fetched(out: Path | str) -> Path:
    """A run's folder as it can be read here: a folder itself, or what lies at s3://... of its logs."""
    url = url_of(out)
    if not url:
        return Path(out).absolute()
    run = folder_of(url)
    run.mkdir(parents=True, exist_ok=True)
    Mirror(run, url).pull()
    return run


def url_of(out: Path | str) -> str:
    """The URL that `out` is, or nothing. A Path has lost one of the slashes."""
    return f"s3://{str(out)[3:].strip('/')}" if str(out).startswith("s3:/") else ""


@contextmanager
def telling_stop(
    run: Path, url: str, overtaken: threading.Event, every: float = LOOK_SECONDS
) -> Iterator[None]:
    """The driver's half: while it lasts, a stop that is asked for in `run` is asked for at `url` too.

    Not by one that was `overtaken`: who works there now is another's.
    """

    def tell(there: Store) -> None:
        if (run / STOP_FILE).exists() and not overtaken.is_set():
            there.write(STOP_FILE, b"")

    with _looking(url, tell, every):
        yield


@contextmanager
def hearing_stop(run: Path, url: str, every: float = LOOK_SECONDS) -> Iterator[None]:
    """A worker's half: while it lasts, a stop that is asked for at `url` is asked for in `run` too."""

    def hear(there: Store) -> None:
        if there.list(STOP_FILE):
            (run / STOP_FILE).touch()

    with _looking(url, hear, every):
        yield


def forget_stop(run: Path, url: str) -> None:
    """Nobody is asked to stop any more."""
    (run / STOP_FILE).unlink(missing_ok=True)
    if url:
        open_store(url).delete(STOP_FILE)


@contextmanager
def _looking(url: str, look: Callable[[Store], None], every: float) -> Iterator[None]:
    """Call `look` again and again in a thread; without a URL never. Where S3 does not answer, the next time will do."""
    over = threading.Event()

    def go_on() -> None:
        store = open_store(url)
        while not over.wait(every):
            with suppress(DataError):
                look(store)

    thread = threading.Thread(target=go_on, daemon=True)
    if url:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if url:
            thread.join()
