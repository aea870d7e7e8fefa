"""A run in S3: hosts that share no disk, one driver at a time. A moto server on a port of this machine."""

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from crash import s3_server
from fake_run import FakeRun
from plans import tiny_plan
from test_worker import HERE, STEPS, figures, job_at, plan_for, saved

from data_shards.store import open_store
from data_shards.store.s3 import S3Store
from raytrain import remote
from raytrain.audit import audit_run
from raytrain.claim import check_claim, claim, run_lock
from raytrain.errors import ResumeLater, RunError
from raytrain.failures import reached
from raytrain.job import Job
from raytrain.manifest import key_of, newest
from raytrain.progress import Teller
from raytrain.remote import Mirror, driving, fetched, url_of, working
from raytrain.runlog import EVALUATIONS, EVENTS, JOB, PLAN, append, newest_steps, read_rows
from raytrain.session import check_out
from raytrain.stopping import STOP_FILE, stopping_politely
from raytrain.worker import work
from raytrain.workplace import sweep

pytestmark = pytest.mark.ranks  # the slow tier: a server, and whole runs


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture
def url(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return f"{bucket}/{uuid4().hex}"


def test_another_host_goes_on_where_one_was_stopped(
    url: str, small_set: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No host has anything of the other. What they leave in S3 is what one undisturbed run leaves in its folder."""
    work(job_at(tmp_path / "alone", small_set), HERE)
    (tmp_path / "host").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "host"))
    monkeypatch.setattr(remote, "LOOK_SECONDS", 0.05)
    first = begun(url, small_set, tmp_path)

    def stop(_: dict[str, float]) -> None:
        open_store(url).write(STOP_FILE, b"")
        until(lambda: next((tmp_path / "host").glob(f"*/{STOP_FILE}"), None) is not None)

    with pytest.raises(ResumeLater, match="stopped on request after step 7, with a checkpoint"):
        work(first, HERE, stop)
    assert list((tmp_path / "host").iterdir()) == []
    open_store(url).delete(STOP_FILE)
    found, _ = newest(open_store(url))
    assert found is not None
    assert found.url == f"{url}/{key_of(7)}"
    work(first.model_copy(update={"resume": found.url}), HERE)
    for name in ("model.pt", "moments.pt"):
        there = json.loads(open_store(url).read(f"{key_of(STEPS)}/MANIFEST.json"))["files"]
        assert there[name]["sha256"] == saved(tmp_path / "alone")[name]
    run = fetched(url)
    assert run == tmp_path / "home" / ".raytrain" / "runs" / url.removeprefix("s3://")
    assert figures(run) == figures(tmp_path / "alone")
    assert audit_run(run, lambda *_: None, checkpoints=url)[0].proven
    made = [row["step"] for row in read_rows(run / EVENTS) if row["event"] == "checkpoint"]
    assert made == [3, 6, 7, 9, 12]
    assert json.loads((run / "workers" / "rank-0.json").read_text())["pid"] == os.getpid()
    assert len(open_store(url).list("tensorboard/")) == 2, "a file of each start"


def test_folders_of_killed_processes_are_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("killed", "at-work"):
        (tmp_path / f"raytrain-run-{name}").mkdir()
        (tmp_path / f"raytrain-run-{name}" / "metrics.jsonl").touch()
    with run_lock(tmp_path / "raytrain-run-at-work"):
        sweep()
        assert len(list(tmp_path.iterdir())) == 2, "it may have been made just now"
        sweep(now=lambda: time.time() + 61)
    assert [path.name for path in tmp_path.iterdir()] == ["raytrain-run-at-work"]


def begun(url: str, data: str, tmp_path: Path) -> Job:
    """What a driver does first."""
    job = job_at(tmp_path / "driver", data).model_copy(update={"remote": url})
    claim(job)
    Mirror(Path(job.run), url).push(PLAN, JOB)
    return job


def until(true: Callable[[], bool]) -> None:
    late = time.monotonic() + 60
    while not true():
        assert time.monotonic() < late
        time.sleep(0.02)


def test_a_checkpoints_ledger_is_there_before_it(url: str, small_set: str, tmp_path: Path) -> None:
    """A host is lost right after its checkpoint became durable: all that it had is what it had sent."""
    job = begun(url, small_set, tmp_path).model_copy(update={"until": 3})
    there: list[list[str]] = []
    write = S3Store.write

    def seen(store: S3Store, key: str, content: bytes | Path) -> None:
        if key.endswith("MANIFEST.json"):
            there.append(
                [row for row in store.read("ledger.jsonl").decode().splitlines() if '"step": 3' in row]
            )
        write(store, key, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(S3Store, "write", seen)
        work(job, HERE)
    assert [len(rows) for rows in there] == [1]


def test_a_driver_shows_the_steps_of_a_rank_0_elsewhere(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "LOOK_SECONDS", 0.05)
    driver, worker = tmp_path / "driver", FakeRun(tmp_path / "worker", tiny_plan(), "d", top1=0.9)
    driver.mkdir()
    told: list[str] = []
    teller = Teller(driver, told.append)
    worker.train(25)
    with driving(Mirror(driver, url)), working(Mirror(worker.run, url), 0):
        until(lambda: bool(newest_steps(driver, 1)) and (driver / EVALUATIONS).exists())
        teller.tell()
    assert reached(driver) == 25
    assert [line.split()[:4] for line in told] == [["epoch", "1.0", "step", "25"]]
    assert "img/s" in told[0]


def test_events_of_driver_and_worker_are_kept_once_in_order(url: str, tmp_path: Path) -> None:
    for name, times in (("driver", (1, 4)), ("worker", (2, 3))):
        (tmp_path / name).mkdir()
        for time_ in times:
            append(tmp_path / name / EVENTS, {"time": f"2026-01-01T00:00:0{time_}", "event": name})
    driver, worker = Mirror(tmp_path / "driver", url), Mirror(tmp_path / "worker", url)
    for _ in range(2):
        worker.push(EVENTS)
        driver.pull(EVENTS)
    (tmp_path / "read").mkdir()
    Mirror(tmp_path / "read", url).pull(EVENTS)
    assert [row["event"] for row in read_rows(tmp_path / "read" / EVENTS)] == [
        "driver", "worker", "worker", "driver",
    ]  # fmt: skip


def test_two_that_send_events_at_once_lose_none(url: str, tmp_path: Path) -> None:
    def send(name: str) -> None:
        (tmp_path / name).mkdir()
        mirror = Mirror(tmp_path / name, url)
        for number in range(8):
            append(mirror.run / EVENTS, {"time": f"{number}", "event": name})
            mirror.push(EVENTS)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(send, ("driver", "worker")))
    assert len(open_store(url).read(EVENTS).splitlines()) == 16


def test_a_place_with_other_files_is_refused(url: str, small_set: str, tmp_path: Path) -> None:
    open_store(url).write("thesis.tex", b"x")
    job = Job(plan=plan_for(small_set), data_url=small_set, run=str(tmp_path / "run"), remote=url)
    mirror = Mirror(tmp_path / "run", url)
    assert mirror.others() == ["thesis.tex"]
    with pytest.raises(RunError, match=r"^s3://.* holds other files \(thesis.tex, ...\); use an empty --out"):
        check_claim(tmp_path / "run", job, mirror.others())
    with pytest.raises(RunError, match="holds other files"):
        check_out(job)


def test_a_run_of_another_plan_is_refused_from_what_lies_there(url: str, small_set: str) -> None:
    job = Job(plan=plan_for(small_set), data_url=small_set, run=url, remote=url)
    open_store(url).write("plan.json", plan_for(small_set).model_dump_json().encode())
    check_out(job)  # the same run
    open_store(url).write("plan.json", plan_for(small_set, seed=5).model_dump_json().encode())
    check_out(job)  # nothing was trained
    open_store(url).write("newest_steps.jsonl", b'{"step": 1}\n')
    with pytest.raises(
        RunError, match=r"^s3://.* holds another run; the plans differ in\n  recipe.seed: 5 -> 0"
    ):
        check_out(job)


def test_a_stop_travels_by_s3_unless_another_took_over(url: str, tmp_path: Path) -> None:
    driver, worker = Mirror(tmp_path / "driver", url), Mirror(tmp_path / "worker", url)
    for mirror in (driver, worker):
        mirror.run.mkdir()
    (driver.run / STOP_FILE).touch()
    driver.overtaken.set()
    driver.tell_stop()
    worker.hear_stop()
    assert not (worker.run / STOP_FILE).exists()
    driver = Mirror(driver.run, url)
    driver.tell_stop()
    worker.hear_stop()
    assert (worker.run / STOP_FILE).exists()
    driver.forget_stop()
    driver.tell_stop()
    assert (open_store(url).list(""), (driver.run / STOP_FILE).exists()) == ([], False)


def test_an_overtaken_driver_ends_though_it_waits_for_its_workers(tmp_path: Path) -> None:
    from raytrain.driver import give_way

    mirror, workers = Mirror(tmp_path, "s3://bucket/run"), Future[None]()
    with stopping_politely(tmp_path, lambda _: None):
        threading.Timer(0.2, give_way, [mirror]).start()
        with pytest.raises(KeyboardInterrupt):
            workers.result(60)
    assert mirror.overtaken.is_set()


@pytest.mark.parametrize(
    ("out", "url"),
    [("s3://b/run", "s3://b/run"), (Path("s3://b/run/x"), "s3://b/run/x"), ("run", ""), ("s3", "")],
)
def test_an_out_in_s3_is_known_though_paths_lose_slashes(out: str | Path, url: str) -> None:
    assert url_of(out) == url
