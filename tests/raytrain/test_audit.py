"""Real runs, killed and continued, and what their ledgers prove; images that no decoder reads, and their budget."""

import json
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from dirty import spoil
from gloo import on_ranks
from plans import paper_shardset, tiny_recipe
from torch.multiprocessing import ProcessExitedException

from cluster.fleet import load_fleet
from data_shards.budget import MAX_BAD
from data_shards.loader import Undecodable
from data_shards.shardset import load_shardset
from data_shards.store import open_store
from data_shards.training import alone
from raytrain import checkpoint
from raytrain.audit import audit_run
from raytrain.console import main
from raytrain.delivery import Delivery, known_bad
from raytrain.errors import RunError
from raytrain.job import Job
from raytrain.manifest import key_of, newest, verify
from raytrain.plan import RunPlan, resolve
from raytrain.ranks import Ranks
from raytrain.runlog import JOB, LEDGER, METRICS, PLAN, QUARANTINE, RunLog, read_rows
from raytrain.worker import work

HERE = Ranks(rank=0, world=1, device=torch.device("cpu"))
STEPS, EPOCH, BATCH = 18, 120, 16  # 2.4 epochs


def plan_for(data: str, workers: int = 1) -> RunPlan:
    """An evaluation at the end only; checkpoints every 3 steps, and rows there and after steps 8 and 15."""
    recipe = tiny_recipe(precision="fp32", epochs=2.4, evaluate_epochs=9, checkpoint_epochs=0.4)
    return resolve(recipe, load_fleet("local", workers), load_shardset(data), engine="torch")


def job_at(run: Path, data: str, workers: int = 1, **changes: Any) -> Job:
    """The job as the driver makes it: with its plan in the folder, from the newest checkpoint."""
    run.mkdir(exist_ok=True)
    plan = plan_for(data, workers)
    (run / PLAN).write_text(plan.model_dump_json())
    (run / JOB).write_text(json.dumps({"data_url": data}))
    found, _ = newest(open_store(str(run)))
    return Job(plan=plan, data_url=data, run=str(run), resume=found.url if found else None, **changes)


def audited(run: Path) -> Any:
    return audit_run(run, lambda *_: None)[0]


def counts(run: Path) -> list[tuple[int, ...]]:
    return [(e.delivered, e.quarantined, e.missing, e.doubled, e.unproven) for e in audited(run).epochs]


@pytest.fixture(scope="module")
def whole(small_set: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without a fault. Not to be changed."""
    run = tmp_path_factory.mktemp("whole") / "run"
    work(job_at(run, small_set), HERE)
    return run


def work_until_killed(rank: int, world: int, job: Job, last: int | None) -> None:
    """Work on a gloo rank; after step `last` was logged, the highest rank kills itself."""

    def kill() -> None:
        while not any(row["step"] >= last for row in read_rows(Path(job.run) / METRICS)):
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGKILL)

    if last is not None and rank == world - 1:
        threading.Thread(target=kill, daemon=True).start()
    work(job, Ranks(rank=rank, world=world, device=torch.device("cpu")))


@pytest.mark.ranks
def test_killed_at_random_and_continued_on_other_worker_counts_it_has_no_gap(
    whole: Path, small_set: str, tmp_path: Path
) -> None:
    run, rng = tmp_path / "run", random.Random()
    kills = [rng.randint(4, 8), rng.randint(9, 15), None]
    for workers, last in zip((2, 1, 2), kills, strict=True):
        job = job_at(run, small_set, workers)
        with pytest.raises(ProcessExitedException, match="SIGKILL") if last else nullcontext():
            on_ranks(workers, work_until_killed, tmp_path, job, last)
        found = audited(run)
        assert found.proven, kills
    assert counts(run) == [(EPOCH, 0, 0, 0, 0)] * 2 + [(STEPS * BATCH - 2 * EPOCH, 0, 0, 0, 0)]
    assert found.workers[:2] == (2, 1), kills
    ends = [read_rows(folder / LEDGER)[-1]["delivered"] for folder in (run, whole)]
    assert ends[0] == ends[1], "the same samples at the same slots as one worker's"


def test_rows_are_made_at_checkpoints_and_epochs_and_bound_to_the_state(whole: Path) -> None:
    rows = read_rows(whole / LEDGER)
    assert [row["step"] for row in rows] == [3, 6, 8, 9, 12, 15, 18]
    state, _ = checkpoint.load_engine(verify(f"{whole}/{key_of(STEPS)}"))
    assert (state.delivered, state.samples_seen) == (rows[-1]["delivered"], rows[-1]["samples"])
    assert counts(whole) == [(EPOCH, 0, 0, 0, 0)] * 2 + [(48, 0, 0, 0, 0)]
    assert [epoch.partial for epoch in audited(whole).epochs] == [False, False, True]


def test_the_command_tells_it_and_ends_with_1_on_a_gap(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["raytrain", "data", "audit", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0), capsys.readouterr().out

    code, text = said(str(whole))
    assert code == 0
    assert text.splitlines()[0] == "288 samples, 3 epochs begun; workers: 1"
    assert text.splitlines()[4].split()[:7] == ["2", "120", "48", "0", "0", "0", "0"]
    assert text.splitlines()[4].endswith("not finished: judged so far as it went")
    run = edited(whole, tmp_path, lambda rows: rows.pop(3))
    code, text = said(str(run))
    assert code == 1
    assert "missing: 16 samples: no row of the ledger has these slots" in text
    assert "epoch 1, slot 128: train-0000" in text
    assert text.splitlines()[-1] == "NOT proven"
    code, text = said(str(run), "--json")
    assert (code, json.loads(text)["findings"][0]["named"][0]["slot"]) == (1, 128)


def edited(whole: Path, tmp_path: Path, edit: Callable[[list[dict[str, Any]]], None]) -> Path:
    run = Path(shutil.copytree(whole, tmp_path / "edited"))
    rows = read_rows(run / LEDGER)
    edit(rows)
    (run / LEDGER).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


def test_the_last_row_lost_is_a_gap_with_names(whole: Path, small_set: str, tmp_path: Path) -> None:
    run = edited(whole, tmp_path, lambda rows: rows.pop())
    found = audited(run)
    (finding,) = found.findings
    assert (finding.kind, finding.samples, finding.named[0].slot) == ("missing", 48, 240)
    shards = load_shardset(small_set).split("train").shards
    for sample in finding.named:
        raw = (Path(small_set) / f"shards/{shards[sample.shard].name}.tar").read_bytes()
        assert f"{sample.key}.jpg".encode() in raw


def test_a_run_that_was_given_another_seed_is_not_proven(whole: Path, small_set: str, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "seed"))
    plan = plan_for(small_set)
    other = plan.model_copy(update={"recipe": plan.recipe.model_copy(update={"seed": 1})})
    (run / PLAN).write_text(other.model_dump_json())
    assert counts(run) == [(EPOCH, 0, 0, 0, EPOCH)] * 2 + [(48, 0, 0, 0, 48)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"step": 9', "ledger.jsonl, line 8, is damaged: "),
        (
            '{"step": 19, "samples": 9, "ranks": [{"slots": [[0, 9, 1, 99, 0, 1]], "samples": 9, "digest": "00", '
            '"quarantined": []}], "delivered": "00"}',
            None,
        ),
        (
            '{"step": 19, "samples": 9, "ranks": [{"slots": [[9, 999, 9, 99, 0, 1]], "samples": 9, "digest": "00", '
            '"quarantined": []}], "delivered": "00"}',
            "ledger.jsonl, line 8, is damaged: it goes to slot 1890, the plan to 288",
        ),
    ],
)
def test_a_damaged_line_is_named(whole: Path, tmp_path: Path, line: str, said: str | None) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "damaged"))
    with (run / LEDGER).open("a") as file:
        file.write(line)
    assert audited(run).proven, "a line without its end was cut by a kill"
    with (run / LEDGER).open("a") as file:
        file.write("\n")
    if said is None:
        assert not audited(run).proven
        return
    with pytest.raises(RunError, match=said):
        audited(run)


def test_a_run_without_a_ledger_says_so(whole: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "old"))
    (run / LEDGER).unlink()
    with pytest.raises(RunError, match=r"has no ledger\.jsonl: it was trained before there was one"):
        audited(run)
    with pytest.raises(RunError, match="holds no run"):
        audited(tmp_path)


@pytest.fixture
def dirty(small_set: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_set, tmp_path / "dirty"))


def test_images_that_cannot_be_decoded_are_listed_once_and_counted_in_every_epoch(
    dirty: Path, tmp_path: Path
) -> None:
    spoil(dirty, "train", [(0, 3), (2, 30)])
    run = tmp_path / "run"
    with pytest.raises(
        RunError, match=r"2 images of split 'train' .*the limit is 1 of 120\. .*--max-bad than 0\.0001"
    ):
        work(job_at(run, str(dirty)), HERE)
    assert len(read_rows(run / QUARANTINE)) == 2
    work(job_at(run, str(dirty), max_bad=0.02), HERE)
    rows = read_rows(run / QUARANTINE)
    shards = load_shardset(str(dirty)).split("train").shards
    assert sorted((row["shard"], row["row"]) for row in rows) == [(shards[0].name, 3), (shards[2].name, 30)]
    for row in rows:
        assert row["key"].startswith(f"{row['wnid']}/"), row
        assert "neither JPEG nor PNG" in row["reason"]
        assert row["step"] == row["slot"] // BATCH + 1
    assert audited(run).proven
    assert counts(run)[:2] == [(EPOCH - 2, 2, 0, 0, 0)] * 2
    replaced = [row["replaced"] for row in read_rows(run / METRICS)]
    assert sum(replaced) == 4 + counts(run)[2][1]


def test_what_was_met_after_the_checkpoint_is_met_again(dirty: Path, tmp_path: Path) -> None:
    spoil(dirty, "train", [(shard, row) for shard in (0, 1, 2) for row in (1, 2)])
    run = tmp_path / "run"
    work(job_at(run, str(dirty), max_bad=0.1), HERE)
    expected = [row for row in read_rows(run / QUARANTINE) if row["step"] <= 6]
    assert 1 <= len(expected) <= 6
    for step in (9, 12, 15, 18):
        shutil.rmtree(run / key_of(step), ignore_errors=True)
    everything = read_rows(run / QUARANTINE)
    work(job_at(run, str(dirty), max_bad=0.1), HERE)
    assert read_rows(run / QUARANTINE) == everything
    assert audited(run).proven


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([7, 8, 7, 7, 0, 0], None),
        ([7, 7, 8, 7, 7], r"4 images of class n00000007 cannot be decoded; the limit is 3 of its 100\. "),
        ([1, 2, 3, 4, 5, 6, 7], r"7 images of split 'train' cannot be decoded; the limit is 6 of 60,000\. "),
    ],
)
def test_the_split_and_each_class_have_a_limit(labels: list[int], said: str | None, tmp_path: Path) -> None:
    """600 classes of 100 images, each image met in two epochs: distinct ones count."""
    shardset, log = paper_shardset(train=60_000, classes=600), RunLog(tmp_path)
    delivery = Delivery(
        ranks=HERE, log=log, training=alone("", shardset, "train"), max_bad=MAX_BAD, known=known_bad(log)
    )
    for epoch in (0, 1):
        for row, label in enumerate(labels):
            delivery.bad = [Undecodable(epoch * 60_000 + row, 0, row, f"key{row}", label, "no picture")]
            if said and (epoch or row == len(labels) - 1):
                with pytest.raises(RunError, match=said + f"{tmp_path}/quarantine.jsonl lists them"):
                    delivery.quarantine(step=epoch * 100 + row)
            else:
                delivery.quarantine(step=epoch * 100 + row)
    assert [row["key"] for row in read_rows(tmp_path / QUARANTINE)] == [f"key{n}" for n in range(len(labels))]
    assert known_bad(log) == delivery.known
