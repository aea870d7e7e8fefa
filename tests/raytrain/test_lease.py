"""Two drivers and one run in S3: who has it, and who is refused. No test waits for a beat."""

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from crash import s3_server

from data_shards.store.base import TakenError
from data_shards.store.s3 import S3Store
from raytrain.errors import RunError
from raytrain.lease import BEAT, LEASE, PATIENCE, Lease, born, leased, this_process

pytestmark = pytest.mark.ranks  # the slow tier: a server


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture
def store(bucket: str) -> S3Store:
    return S3Store(f"{bucket}/{uuid4().hex}")


def on(host: str, pid: int = 7) -> Callable[[], dict[str, Any]]:
    """A driver on another machine."""
    return lambda: {"host": host, "pid": pid, "born": "1", "machine": host}


class Time:
    """A clock that goes on when somebody waits; `meanwhile` happens then."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.now, self.meanwhile = 0.0, meanwhile

    def clock(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.meanwhile()


def lease(store: S3Store, host: str, time: Time | None = None) -> Lease:
    time = time or Time()
    return Lease(store, who=on(host), clock=time.clock, wait=time.wait)


def never(_: str = "") -> None:
    raise AssertionError("nobody took it")


def test_a_second_driver_is_told_where_the_first_is_and_what_to_do(store: S3Store) -> None:
    first = lease(store, "one")
    first.take(never)
    said: list[str] = []
    time = Time(lambda: first.write(first.version))
    with pytest.raises(RunError) as refused:
        lease(store, "two", time).take(said.append)
    assert str(refused.value) == (
        f"another raytrain drives {store.url} (process 7 on one). Wait for it, or stop it: `kill 7` on one ends it "
        "after its step, with a checkpoint, and this command then goes on from there; or use another --out"
    )
    assert said == [f"process 7 on one drove {store.url}: looking for 45 s whether it still does"]
    assert time.now == BEAT / 2, "one beat is enough"


def test_a_dead_ones_run_is_taken_after_patience(store: S3Store) -> None:
    dead, time = lease(store, "one"), Time()
    dead.take(never)
    lease(store, "two", time).take(lambda _: None)
    assert time.now == PATIENCE
    with pytest.raises(TakenError):
        dead.write(dead.version)
    assert dead.held()[0]["host"] == "two"


def test_a_dead_ones_run_goes_to_one_of_those_who_waited(store: S3Store) -> None:
    lease(store, "one").take(never)
    third = lease(store, "three")
    took: list[str] = []

    def at_the_end() -> None:
        if time.now == PATIENCE:
            third.write(third.held()[1])
            took.append("three")

    time = Time(at_the_end)
    with pytest.raises(RunError, match=r"another raytrain drives .* \(process 7 on three\)"):
        lease(store, "two", time).take(lambda _: None)
    assert took == ["three"]


def test_one_that_is_given_back_is_taken_at_once(store: S3Store) -> None:
    first = lease(store, "one")
    first.take(never)
    time = Time(first.give_back)
    second = lease(store, "two", time)
    second.take(lambda _: None)
    assert (time.now, second.held()[0]["host"]) == (BEAT / 2, "two")
    second.give_back()
    assert store.list("") == []


def test_on_one_machine_the_process_table_says_who_lives(store: S3Store) -> None:
    child = subprocess.Popen(["sleep", "60"])

    def childs() -> dict[str, Any]:
        return {**this_process(), "pid": child.pid, "born": born(child.pid)}

    Lease(store, who=childs, wait=never).take(never)
    second = Lease(store, wait=never)
    with pytest.raises(RunError, match=f"process {child.pid} on {os.uname().nodename}"):
        second.take(never)
    child.kill()  # and nobody has asked yet how it ended
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    second.take(never)
    child.wait()
    assert second.held()[0]["pid"] == os.getpid()


def test_one_that_was_stopped_for_long_learns_that_it_is_overtaken(store: S3Store) -> None:
    lost = threading.Event()
    with leased(Lease(store, beat=0.2, who=on("one")), lost.set, lambda _: None):
        store.swap(LEASE, b'{"host": "other", "pid": 1}', store.version(LEASE))
        assert lost.wait(30)
    assert json.loads(store.read(LEASE))["host"] == "other", "it is not the loser's to give back"


def test_of_many_at_once_one_gets_it(store: S3Store) -> None:
    def take(number: int) -> bool:
        try:
            store.swap("x", str(number).encode(), None)
        except TakenError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(take, range(16))) == 1


def test_an_answer_that_was_lost_is_no_other_writer(store: S3Store) -> None:
    assert store.swap("x", b"mine", None) == store.swap("x", b"mine", None)
