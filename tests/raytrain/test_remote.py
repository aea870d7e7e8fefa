"""A run in S3: hosts that share no disk, one driver at a time. A moto server on a port of this machine."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from crash import s3_server
from test_worker import HERE, STEPS, figures, job_at, plan_for, saved

from data_shards.store import open_store
from raytrain.audit import audit_run
from raytrain.claim import check_claim, claim
from raytrain.errors import ResumeLater, RunError
from raytrain.manifest import complete_steps, key_of, newest
from raytrain.remote import Mirror, fetched, folder_of, hearing_stop, telling_stop, url_of
from raytrain.runlog import EVENTS, append, read_rows
from raytrain.stopping import STOP_FILE
from raytrain.worker import Job, work

pytestmark = pytest.mark.ranks  # the slow tier: a server, and whole runs


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture
def url(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return f"{bucket}/{uuid4().hex}"


def test_another_host_goes_on_where_one_was_stopped(url: str, small_set: str, tmp_path: Path) -> None:
    """Both have folders of their own. What they leave in S3 is what one undisturbed run leaves in its folder."""
    work(job_at(tmp_path / "alone", small_set), HERE)
    first = job_at(tmp_path / "host1", small_set).model_copy(update={"remote": url})
    claim(first)
    Mirror(Path(first.run), url).push()

    def stop(_: dict[str, float]) -> None:
        open_store(url).write(STOP_FILE, b"")
        until = time.monotonic() + 60
        while not (Path(first.run) / STOP_FILE).exists():
            assert time.monotonic() < until
            time.sleep(0.05)

    with pytest.raises(ResumeLater, match="stopped on request after step 7, with a checkpoint"):
        work(first, HERE, stop)
    assert not (Path(first.run) / "checkpoints").exists()
    open_store(url).delete(STOP_FILE)
    found, _ = newest(open_store(url))
    assert found is not None
    assert found.url == f"{url}/{key_of(7)}"
    (tmp_path / "host2").mkdir()
    work(first.model_copy(update={"run": str(tmp_path / "host2"), "resume": found.url}), HERE)
    for name in ("model.pt", "moments.pt"):
        there = json.loads(open_store(url).read(f"{key_of(STEPS)}/MANIFEST.json"))["files"]
        assert there[name]["sha256"] == saved(tmp_path / "alone")[name]
    run = fetched(url)
    assert run == tmp_path / "home" / ".raytrain" / "runs" / url.removeprefix("s3://")
    assert figures(run) == figures(tmp_path / "alone")
    assert audit_run(run, lambda *_: None, checkpoints=url)[0].proven
    made = [row["step"] for row in read_rows(run / EVENTS) if row["event"] == "checkpoint"]
    assert made == [3, 6, 7, 9, 12]


def test_a_checkpoints_ledger_is_there_before_it(url: str, small_set: str, tmp_path: Path) -> None:
    """A host is lost right after its checkpoint became durable: all that it had is what it had sent."""
    job = job_at(tmp_path / "lost", small_set).model_copy(update={"remote": url, "until": 3})
    claim(job)
    sent, push = [], Mirror.push

    def seen(mirror: Mirror) -> None:
        push(mirror)
        sent.append((complete_steps(open_store(url)), read_rows(mirror.run / "ledger.jsonl")[-1]["step"]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Mirror, "push", seen)
        work(job, HERE)
    assert sent == [([], 3), ([3], 3)]


def test_events_of_driver_and_worker_are_kept_once_in_order(url: str, tmp_path: Path) -> None:
    for name, times in (("driver", (1, 4)), ("worker", (2, 3))):
        (tmp_path / name).mkdir()
        for time_ in times:
            append(tmp_path / name / EVENTS, {"time": f"2026-01-01T00:00:0{time_}", "event": name})
    (tmp_path / "worker" / "plan.json").write_text("{}")
    Mirror(tmp_path / "worker", url).push()
    driver = Mirror(tmp_path / "driver", url)
    for _ in range(2):
        driver.pull()
        driver.push()
    assert [row["event"] for row in read_rows(tmp_path / "driver" / EVENTS)] == [
        "driver", "worker", "worker", "driver",
    ]  # fmt: skip


def test_a_folder_of_a_run_that_is_there_no_more_is_emptied(url: str) -> None:
    run = folder_of(url)
    (run / "workers").mkdir(parents=True)
    (run / "plan.json").write_text("{}")
    (run / ".lock").touch()
    Mirror(run, url).pull()
    assert [path.name for path in run.iterdir()] == [".lock"]


def test_a_place_with_other_files_is_refused(url: str, small_set: str, tmp_path: Path) -> None:
    open_store(url).write("thesis.tex", b"x")
    job = Job(plan=plan_for(small_set), data_url=small_set, run=str(tmp_path / "run"), remote=url)
    mirror = Mirror(tmp_path / "run", url)
    assert mirror.others() == ["thesis.tex"]
    with pytest.raises(RunError, match=r"^s3://.* holds other files \(thesis.tex, ...\); use an empty --out"):
        check_claim(tmp_path / "run", job, mirror.others())


def test_a_stop_travels_by_s3_unless_another_took_over(url: str, tmp_path: Path) -> None:
    driver, worker, overtaken = tmp_path / "driver", tmp_path / "worker", threading.Event()
    for folder in (driver, worker):
        folder.mkdir()
    overtaken.set()
    with telling_stop(driver, url, overtaken, 0.05), hearing_stop(worker, url, 0.05):
        (driver / STOP_FILE).touch()
        time.sleep(0.3)
        assert not (worker / STOP_FILE).exists()
        overtaken.clear()
        until = time.monotonic() + 60
        while not (worker / STOP_FILE).exists():
            assert time.monotonic() < until
            time.sleep(0.02)


@pytest.mark.parametrize(
    ("out", "url"),
    [("s3://b/run", "s3://b/run"), (Path("s3://b/run/x"), "s3://b/run/x"), ("run", ""), ("s3", "")],
)
def test_an_out_in_s3_is_known_though_paths_lose_slashes(out: str | Path, url: str) -> None:
    assert url_of(out) == url
