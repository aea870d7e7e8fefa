"""A run on the first of its shards alone, with some of its training images evaluated: what it trains on, and says."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from gloo import on_ranks
from plans import tiny_recipe

from cluster.fleet import load_fleet
from data_shards.errors import DataUsageError
from data_shards.mix import load_data
from data_shards.shardset import Shard, ShardSet, Split, load_shardset
from data_shards.store import open_store
from data_shards.training import first_shards
from raytrain.audit import audit_run
from raytrain.errors import ResumeLater, UsageError
from raytrain.job import Job
from raytrain.manifest import complete_steps, key_of, newest, verify
from raytrain.plan import RunPlan, resolve
from raytrain.ranks import Ranks
from raytrain.recipe import Recipe
from raytrain.report import build_report
from raytrain.report.render import page
from raytrain.runlog import EVALUATIONS, JOB, METRICS, PLAN, read_rows
from raytrain.settings import change
from raytrain.tell import plan_text
from raytrain.worker import STOP_FILE, work

HERE = Ranks(rank=0, world=1, device=torch.device("cpu"))
HALF, STEPS = 64, 16  # the first 2 of 4 shards, of 32 + 32 + 32 + 24 images; 4 epochs x 64 / 16


def plan_for(data: str, workers: int = 1, **changes: object) -> RunPlan:
    """Half the data, a slice of 40 of its images; evaluations and checkpoints after 8 and 16 steps."""
    lengths = {"epochs": 4, "evaluate_epochs": 2, "checkpoint_epochs": 2}
    what = {"train_fraction": 0.5, "train_slice": 40, "precision": "fp32", **lengths, **changes}
    return resolve(
        change(tiny_recipe(), what), load_fleet("local", workers), load_shardset(data), engine="torch"
    )


def job_at(run: Path, data: str, workers: int = 1, **changes: object) -> Job:
    run.mkdir(exist_ok=True)
    plan = plan_for(data, workers, **changes)
    (run / PLAN).write_text(plan.model_dump_json())
    (run / JOB).write_text(json.dumps({"data_url": data}))
    found, _ = newest(open_store(str(run)))
    return Job(plan=plan, data_url=data, run=str(run), resume=found.url if found else None)


@pytest.fixture(scope="module")
def half(small_set: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("half") / "run"
    work(job_at(run, small_set), HERE)
    return run


def test_each_sample_of_the_fraction_comes_once_an_epoch(half: Path, small_set: str) -> None:
    found, training = audit_run(half, lambda *_: None)
    assert found.proven
    assert [(e.index, e.delivered, e.missing, e.doubled) for e in found.epochs] == [(HALF, HALF, 0, 0)] * 4
    assert [shard.name for shard in training.parts[0].chosen.shards] == ["train-00000", "train-00001"]
    assert found.samples == STEPS * 16


def test_the_slice_is_evaluated_beside_the_held_out_images(half: Path) -> None:
    rows = read_rows(half / EVALUATIONS)
    assert [row["step"] for row in rows] == [8, 16]
    assert [set(row["train"]) for row in rows] == [{"top1", "top5", "loss", "calibration_error"}] * 2
    for row in rows:
        right = 40 * row["train"]["top1"]
        assert right == pytest.approx(round(right)), "a share of 40 images"
    assert rows[-1]["train"] != {name: rows[-1][name] for name in rows[-1]["train"]}


def test_the_report_shows_both_curves(half: Path) -> None:
    report = build_report(str(half))
    assert [point.train is not None for point in report.evaluations] == [True, True]
    shown = page([report])
    assert "top-1 on 40 training images" in shown
    assert "Top-1 on held-out and training images, %" in shown


def test_every_tenth_step_says_how_far_the_weights_moved(half: Path) -> None:
    rows = read_rows(half / METRICS)
    assert [row["step"] for row in rows if "update_ratio" in row] == [1, 11]
    assert all(1e-5 < row["update_ratio"] < 1 for row in rows if "update_ratio" in row)


def test_stopped_and_continued_it_ends_the_same(half: Path, small_set: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    job = job_at(run, small_set)
    with pytest.raises(ResumeLater):
        work(job, HERE, lambda _: (run / STOP_FILE).touch())
    (run / STOP_FILE).unlink()
    assert max(complete_steps(open_store(str(run)))) < STEPS
    work(job_at(run, small_set), HERE)
    files = [verify(f"{folder}/{key_of(STEPS)}").manifest.files["model.pt"] for folder in (run, half)]
    assert files[0] == files[1]
    assert audit_run(run, lambda *_: None)[0].proven


def work_on(rank: int, world: int, job: Job) -> None:
    work(job, Ranks(rank=rank, world=world, device=torch.device("cpu")))


@pytest.mark.ranks
def test_two_workers_go_on_where_one_stopped(half: Path, small_set: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(half, run)
    shutil.rmtree(run / key_of(STEPS))
    on_ranks(2, work_on, tmp_path, job_at(run, small_set, workers=2))
    found, _ = audit_run(run, lambda *_: None)
    assert found.proven
    assert found.workers == (1, 2)
    assert [(e.index, e.delivered) for e in found.epochs] == [(HALF, HALF)] * 4
    assert read_rows(run / EVALUATIONS)[-1]["train"]["loss"] > 0


def test_the_plan_says_the_true_share(small_set: str) -> None:
    plan = plan_for(small_set)
    assert (plan.data.train_samples, plan.data.train_slice, plan.lengths.steps) == (HALF, 40, STEPS)
    assert plan.because["data.train_samples"] == (
        "the first 2 of 4 shards, nearest to train_fraction 0.5: 53.3 % of 120 images"
    )
    assert "40 of them evaluated too" in plan_text(plan)


def test_a_slice_is_no_larger_than_what_is_trained_on(small_set: str) -> None:
    assert plan_for(small_set, train_slice=1000).data.train_slice == HALF


def test_what_is_off_leaves_the_plans_of_before(small_set: str) -> None:
    plan = plan_for(small_set, train_fraction=1, train_slice=0)
    text = plan.model_dump_json()
    assert "train_fraction" not in text
    assert "train_slice" not in text
    assert Recipe.model_validate_json(plan.recipe.model_dump_json()).train_fraction == 1


@pytest.mark.parametrize("share", [0, -0.5, 1.5])
def test_a_share_is_above_0_and_at_most_1(share: float) -> None:
    with pytest.raises(UsageError, match="--set train_fraction="):
        change(tiny_recipe(), {"train_fraction": share})


@pytest.mark.parametrize(
    ("share", "kept"), [(1.0, 5), (0.75, 4), (0.5, 2), (0.25, 1), (0.01, 1), (0.3, 2), (0.9, 4)]
)
def test_whole_shards_the_nearest_number(share: float, kept: int) -> None:
    shards = tuple(
        Shard(name=f"s{number}", samples=10, bytes=1, sha256="0", index_sha256="0") for number in range(5)
    )
    found = first_shards(Split(shards=shards, class_counts=(25, 25)), share)
    assert found.shards == shards[:kept]
    assert found.class_counts == (5 * kept,) * 2


def test_a_mix_is_trained_on_whole(small_set: str, tmp_path: Path) -> None:
    (tmp_path / "mix.yaml").write_text(f"sets: [{{url: {small_set}, weight: 1}}]")
    mix = load_data(str(tmp_path / "mix.yaml"))
    assert not isinstance(mix, ShardSet)
    with pytest.raises(DataUsageError, match=r"train_fraction 0.5: mix 'mix' is trained on whole"):
        resolve(change(tiny_recipe(), {"train_fraction": 0.5}), load_fleet("local", 1), mix, engine="torch")
