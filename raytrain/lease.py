"""A lease on a run in S3: one driver at a time, by conditional writes. No two machines' clocks are compared.

The holder writes the object anew every BEAT seconds. Who finds one looks at it for PATIENCE seconds: if it is written
anew meanwhile, its holder is alive; if not, the holder is dead, and the lease is taken from it. Where both are on one
machine, its process table says so at once.
"""

import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data_shards.errors import DataError
from data_shards.store.base import NotFoundError, TakenError
from data_shards.store.s3 import S3Store
from raytrain.errors import RunError

LEASE = "driver.json"
BEAT, PATIENCE = 10.0, 45.0


def this_process() -> dict[str, Any]:
    """What tells this process from every other: `machine` is the running kernel and the process table, which a
    container has of its own. A process id is used again; together with when it was born it is not.
    """
    machine = Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    pid = os.getpid()
    return {"host": os.uname().nodename, "pid": pid, "born": born(pid), "machine": machine}


def born(pid: int) -> str:
    """When a process of this machine was started, in the kernel's ticks; nothing where it is there no more."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return ""
    return "" if state == "Z" else fields[18]


def is_alive(told: dict[str, Any], here: dict[str, Any]) -> bool | None:
    """Whether the process that `told` of itself lives; None where only its own machine knows."""
    return born(told["pid"]) == told["born"] if told["machine"] == here["machine"] else None


class Lease:
    """One process's hold of `store`'s run."""

    def __init__(
        self,
        store: S3Store,
        *,
        beat: float = BEAT,
        patience: float = PATIENCE,
        who: Callable[[], dict[str, Any]] = this_process,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.store, self.beat, self.patience = store, beat, patience
        self.clock, self.wait = clock, wait
        self.who = {**who(), "holder": secrets.token_hex(8)}
        self.count, self.version = 0, ""

    def take(self, say: Callable[[str], None]) -> None:
        """Raises RunError where another holds it and is alive."""
        try:
            self.write(None)
            return
        except TakenError:
            told, seen = self.held()
        alive = is_alive(told, self.who) if told else False
        if alive is None:
            say(
                f"{named(told)} drove {self.store.url}: looking for {self.patience:.0f} s whether it still does"
            )
            seen = self.outwait(seen)
        if alive:
            raise RunError(refused(self.store.url, told))
        try:
            self.write(seen or None)
        except TakenError:
            raise RunError(refused(self.store.url, self.held()[0])) from None

    def outwait(self, seen: str) -> str:
        """Look at version `seen` until patience is over; returns it, or nothing where it was given back.

        Raises RunError where it is written anew.
        """
        until = self.clock() + self.patience
        while self.clock() < until:
            self.wait(self.beat / 2)
            told, version = self.held()
            if not version:
                return ""
            if version != seen:
                raise RunError(refused(self.store.url, told))
        return seen

    def write(self, version: str | None) -> None:
        """Write it anew where it is still of `version`. Raises TakenError."""
        self.count += 1
        content = json.dumps({**self.who, "beat": self.count}).encode()
        self.version = self.store.swap(LEASE, content, version)

    def held(self) -> tuple[dict[str, Any], str]:
        """What its holder tells of itself, and its version; both empty where nobody has it."""
        try:
            version = self.store.version(LEASE)
            return json.loads(self.store.read(LEASE)), version
        except NotFoundError:
            return {}, ""

    def give_back(self) -> None:
        """Delete it, if it is still this process's."""
        if self.held()[1] == self.version:
            self.store.delete(LEASE)


def named(told: dict[str, Any]) -> str:
    """A holder, for people."""
    return f"process {told['pid']} on {told['host']}" if told else "another process"


def refused(url: str, told: dict[str, Any]) -> str:
    """What a second driver is told."""
    end = f": `kill {told['pid']}` on {told['host']} ends it" if told else ""
    return (
        f"another raytrain drives {url} ({named(told)}). Wait for it, or stop it{end} after its step, with a "
        "checkpoint, and this command then goes on from there; or use another --out"
    )


@contextmanager
def leased(lease: Lease, lost: Callable[[], None], say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lease; `lost` is called, in a thread, if another takes it: this process was stopped for long.

    Raises RunError where another holds it.
    """
    over = threading.Event()
    lease.take(say)

    def live() -> None:
        while not over.wait(lease.beat):
            try:
                lease.write(lease.version)
            except TakenError:
                say(f"another raytrain took {lease.store.url} over: this one stops")
                lost()
                return
            except DataError:
                continue  # S3 does not answer: the lease is held until another takes it

    thread = threading.Thread(target=live, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        lease.give_back()
