"""A whole run in this process, on one rank, with the plain engine: what it writes, and where it goes on."""

import json
import math
import os
import shutil
from pathlib import Path

import pytest
import torch
from plans import TINY_RESNET, tiny_recipe

from cluster.fleet import presets
from data_shards.errors import DataError
from data_shards.pack import PackOptions, pack
from data_shards.shardset import load_shardset
from data_shards.store import open_store
from raytrain import checkpoint
from raytrain.errors import ResumeLater, RunError
from raytrain.job import Job
from raytrain.manifest import complete_steps, init_from, key_of, verify
from raytrain.models.build import build
from raytrain.models.spec import SwinSpec
from raytrain.plan import Init, RunPlan, resolve
from raytrain.ranks import Ranks
from raytrain.runlog import EVALUATIONS, EVENTS, LAST_EVALUATION, METRICS, TRANSFER, RunLog, append, read_rows
from raytrain.schedule import learning_rate
from raytrain.worker import STOP_FILE, start, work

HERE = Ranks(rank=0, world=1, device=torch.device("cpu"))
STEPS = 12  # 1.6 epochs x 120 images / 16
DROPPING = TINY_RESNET.model_copy(update={"drop_path": 0.3})  # what is random must come back too
SAVED = ("model.pt", "moments.pt", "state.json", "card.json")


def plan_for(data: str, init: Init | None = None, **changes: object) -> RunPlan:
    """Evaluations after steps 6 and 12, checkpoints after 3, 6, 9 and 12."""
    lengths = {"epochs": 1.6, "evaluate_epochs": 0.8, "checkpoint_epochs": 0.4}
    recipe = tiny_recipe(**{"precision": "fp32", "model": DROPPING, **lengths, **changes})
    return resolve(recipe, presets()["local"], load_shardset(data), engine="torch", init=init)


def job_at(run: Path, data: str, plan: RunPlan | None = None, resume: str | None = None) -> Job:
    run.mkdir(exist_ok=True)
    return Job(plan=plan or plan_for(data), data_url=data, run=str(run), resume=resume)


def saved(run: Path, step: int = STEPS) -> dict[str, str]:
    """The sha256 of everything that a checkpoint holds."""
    return {name: digest.sha256 for name, digest in verify(f"{run}/{key_of(step)}").manifest.files.items()}


def figures(run: Path) -> list[dict[str, float]]:
    """The rows of metrics, without their times."""
    return [
        {key: value for key, value in row.items() if key not in ("seconds", "wait_seconds")}
        for row in read_rows(run / METRICS)
    ]


@pytest.fixture(scope="module")
def undisturbed(small_set: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run") / "undisturbed"
    job = job_at(run, small_set)
    assert job.plan.lengths.steps == STEPS
    reported: list[dict[str, float]] = []
    work(job, HERE, reported.append)
    (run / "reported.json").write_text(json.dumps(reported))
    return run


def test_every_step_is_logged_once_with_finite_figures(undisturbed: Path, small_set: str) -> None:
    rows, plan = read_rows(undisturbed / METRICS), plan_for(small_set)
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert [row["samples"] for row in rows] == [16 * row["step"] for row in rows]
    assert [row["epoch"] for row in rows] == [16 * row["step"] / 120 for row in rows]
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert all(row["applied"] and row["images"] == 16 and row["grad_norm"] > 0 for row in rows)
    assert all(0 <= row["wait_seconds"] <= row["seconds"] for row in rows)
    assert [row["lr"] for row in rows] == [learning_rate(plan, step) for step in range(STEPS)]
    assert sum(row["loss"] for row in rows[-3:]) < sum(row["loss"] for row in rows[:3]), "it learns"


def test_evaluations_are_logged_and_reported(undisturbed: Path) -> None:
    rows = read_rows(undisturbed / EVALUATIONS)
    assert [(row["step"], row["samples"]) for row in rows] == [(6, 96), (12, 192)]
    last = json.loads((undisturbed / LAST_EVALUATION).read_text())
    assert (last["step"], last["evaluation"]["samples"]) == (STEPS, 30)
    assert last["evaluation"]["top1"] == rows[-1]["top1"]
    reported = json.loads((undisturbed / "reported.json").read_text())
    assert reported == [{key: row[key] for key in ("step", "epoch", "top1", "loss")} for row in rows]


def test_checkpoints_are_made_pruned_and_say_the_best(undisturbed: Path) -> None:
    made = [row["step"] for row in read_rows(undisturbed / EVENTS) if row["event"] == "checkpoint"]
    assert made == [3, 6, 9, 12]
    assert complete_steps(open_store(str(undisturbed))) == [6, 9, 12]
    state, engine = checkpoint.load_engine(verify(f"{undisturbed}/{key_of(STEPS)}"))
    rows = read_rows(undisturbed / EVALUATIONS)
    best = max(rows, key=lambda row: row["top1"])
    assert (state.best_top1, state.best_step) == (best["top1"], best["step"])
    assert (state.step, state.samples_seen, engine.applied) == (STEPS, 16 * STEPS, STEPS)
    fresh = build(TINY_RESNET, 6, 16, seed=0).state_dict()
    moved = [name for name in fresh if not torch.equal(fresh[name], engine.model[name])]
    assert set(fresh) - set(moved) == set(), "every tensor is trained, or a statistic"


def test_the_best_is_saved_where_no_checkpoint_was_due(small_set: str, tmp_path: Path) -> None:
    """Evaluations after steps 4, 8 and 12; only the last step has a checkpoint due."""
    run = tmp_path / "run"
    work(job_at(run, small_set, plan_for(small_set, evaluate_epochs=8 / 15, checkpoint_epochs=9)), HERE)
    best, better = 0.0, []
    for row in read_rows(run / EVALUATIONS):
        if row["top1"] > best:
            best, better = row["top1"], [*better, row["step"]]
    made = [row["step"] for row in read_rows(run / EVENTS) if row["event"] == "checkpoint"]
    assert better[0] == 4
    assert made == sorted({*better, STEPS})


def test_tensorboard_holds_the_same_curve(undisturbed: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(undisturbed / "tensorboard"))
    board.Reload()
    drawn = [(point.step, point.value) for point in board.Scalars("train/loss")]
    assert drawn == [(row["step"], pytest.approx(row["loss"])) for row in read_rows(undisturbed / METRICS)]
    assert [point.step for point in board.Scalars("eval/top1")] == [6, 12]


def test_the_worker_says_who_it_is(undisturbed: Path) -> None:
    said = json.loads((undisturbed / "workers" / "rank-0.json").read_text())
    assert said == {"host": os.uname().nodename, "pid": os.getpid()}


def test_stopped_on_request_and_continued_it_ends_the_same(
    undisturbed: Path, small_set: str, tmp_path: Path
) -> None:
    run = tmp_path / "stopped"
    job = job_at(run, small_set)

    def stop_in_the_first_evaluation(_: dict[str, float]) -> None:
        (run / STOP_FILE).touch()

    with pytest.raises(ResumeLater, match="stopped on request after step 7, with a checkpoint") as stopped:
        work(job, HERE, stop_in_the_first_evaluation)
    assert stopped.value.exit_code == 75
    assert complete_steps(open_store(str(run)))[-1] == 7
    (run / STOP_FILE).unlink()
    work(job.model_copy(update={"resume": f"{run}/{key_of(7)}"}), HERE)
    assert saved(run) == saved(undisturbed)
    assert set(saved(run)) == set(SAVED)
    assert figures(run) == figures(undisturbed)
    events = [row for row in read_rows(run / EVENTS) if row["event"] == "resumed"]
    assert [(row["step"], row["world"]) for row in events] == [(7, 1)]


def test_rungs_end_in_the_weights_of_one_run(undisturbed: Path, small_set: str, tmp_path: Path) -> None:
    """Three starts, the first two ending where neither an evaluation nor a checkpoint was due."""
    run, resume = tmp_path / "rungs", None
    for until in (4, 8, STEPS):
        job = job_at(run, small_set, resume=resume).model_copy(update={"until": until})
        work(job, HERE)
        assert read_rows(run / EVALUATIONS)[-1]["step"] == until
        resume = f"{run}/{key_of(until)}"
    for name in (
        "model.pt",
        "moments.pt",
        "card.json",
    ):  # state.json names the best step: more of them were looked at
        assert saved(run)[name] == saved(undisturbed)[name]
    assert figures(run) == figures(undisturbed)
    assert read_rows(run / EVALUATIONS)[-1]["top1"] == read_rows(undisturbed / EVALUATIONS)[-1]["top1"]
    assert [row["step"] for row in read_rows(run / EVALUATIONS)] == [4, 6, 8, 12]


def test_a_stop_at_the_last_step_is_the_end(small_set: str, tmp_path: Path) -> None:
    job = job_at(tmp_path / "run", small_set, plan_for(small_set, epochs=0.1))
    (tmp_path / "run" / STOP_FILE).touch()
    assert job.plan.lengths.steps == 1
    work(job, HERE)
    assert complete_steps(open_store(job.run)) == [1]


def test_rows_after_the_resumed_step_are_made_again_and_not_doubled(
    undisturbed: Path, small_set: str, tmp_path: Path
) -> None:
    """As if killed while it wrote the row of step 13, with the newest checkpoint that verifies at step 9."""
    run = Path(shutil.copytree(undisturbed, tmp_path / "killed"))
    shutil.rmtree(run / key_of(STEPS))
    with (run / METRICS).open("a") as file:
        file.write('{"step": 13, "lo')
    append(run / EVALUATIONS, {"step": 15, "top1": 1.0})
    work(job_at(run, small_set, resume=f"{run}/{key_of(9)}"), HERE)
    assert figures(run) == figures(undisturbed)
    assert [row["step"] for row in read_rows(run / EVALUATIONS)] == [6, 12]
    assert saved(run) == saved(undisturbed)


def test_data_that_changed_under_the_run_is_refused(small_set: str, tmp_path: Path) -> None:
    changed = Path(shutil.copytree(small_set, tmp_path / "changed"))
    manifest = changed / "shardset.json"
    manifest.write_text(load_shardset(small_set).model_copy(update={"name": "repacked"}).model_dump_json())
    job = job_at(tmp_path / "run", small_set).model_copy(update={"data_url": str(changed)})
    both = [load_shardset(url).fingerprint[:12] for url in (str(changed), small_set)]
    with pytest.raises(
        RunError, match=f"changed under the run: fingerprint {both[0]}, the plan was made for {both[1]}"
    ):
        work(job, HERE)
    assert not (tmp_path / "run" / METRICS).exists()


def test_a_shard_that_is_gone_is_named(small_set: str, tmp_path: Path) -> None:
    lost = Path(shutil.copytree(small_set, tmp_path / "lost"))
    shard = sorted((lost / "shards").glob("train*"))[0]
    shard.unlink()
    with pytest.raises(DataError, match=shard.stem):
        work(job_at(tmp_path / "run", str(lost)), HERE)


def test_a_damaged_checkpoint_is_not_continued(undisturbed: Path, small_set: str, tmp_path: Path) -> None:
    run = Path(shutil.copytree(undisturbed, tmp_path / "damaged"))
    with (run / key_of(9) / "model.pt").open("ab") as file:
        file.write(b"!")
    with pytest.raises(RunError, match=r"model\.pt is damaged"):
        work(job_at(run, small_set, resume=f"{run}/{key_of(9)}"), HERE)
    assert figures(run) == figures(undisturbed), "nothing was written over"


@pytest.mark.parametrize(
    ("evaluate_epochs", "said"),
    [
        (
            1.6,
            r"11 steps in a row were not finite, the last being step 12 at learning rate .*--set optimizer\.lr=",
        ),
        (0.4, r"outputs on split 'val' are not finite: it has diverged.*--set optimizer\.lr="),
    ],
)
def test_a_run_that_diverges_says_what_to_turn(
    small_set: str, tmp_path: Path, evaluate_epochs: float, said: str
) -> None:
    wild = {"name": "adamw", "lr": 1e30, "lr_batch": 16, "clip_norm": None}
    plan = plan_for(small_set, optimizer=wild, evaluate_epochs=evaluate_epochs)
    with pytest.raises(RunError, match=said):
        work(job_at(tmp_path / "run", small_set, plan), HERE)
    lines = (tmp_path / "run" / METRICS).read_text().splitlines()
    assert [json.loads(line, parse_constant=pytest.fail)["grad_norm"] is None for line in lines][-1]


TINY_SWIN = SwinSpec(embed_dim=16, depths=(2,), head_dim=8, patch=4, window=4, drop_path=0.1)
ONE_STEP = {"epochs": 0.1, "evaluate_epochs": 9, "checkpoint_epochs": 9}


@pytest.fixture(scope="module")
def pretrained(small_set: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Swin at 16 px with window 4, after one step on 6 classes."""
    run = tmp_path_factory.mktemp("pretrained") / "run"
    work(job_at(run, small_set, plan_for(small_set, model=TINY_SWIN, **ONE_STEP)), HERE)
    return run


@pytest.fixture(scope="module")
def other_classes(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three of the six classes and a new one, which sorts first: no class keeps its label."""
    root = tmp_path_factory.mktemp("other")
    for split in ("train", "val"):
        folders = sorted((pictures / split).iterdir())
        for folder in folders[3:]:
            shutil.copytree(folder, root / "images" / split / folder.name)
        shutil.copytree(folders[0], root / "images" / split / "n00000000")
    pack(root / "images", str(root / "set"), PackOptions(name="other"), 1, 0.0, lambda *_: None)
    return str(root / "set")


def tuning_plan(pretrained: Path, other_classes: str) -> RunPlan:
    larger = {"image_size": 24, "min_area": 0.5, "eval_crop": 1.0}
    model = TINY_SWIN.model_copy(update={"window": 6})
    init = init_from(str(pretrained), print)
    return plan_for(other_classes, init, model=model, view=larger, **ONE_STEP)


def test_a_fine_tune_starts_from_the_rows_of_its_classes(
    pretrained: Path, other_classes: str, tmp_path: Path
) -> None:
    plan, shardset = tuning_plan(pretrained, other_classes), load_shardset(other_classes)
    job, source = job_at(tmp_path / "run", other_classes, plan), verify(f"{pretrained}/{key_of(1)}")
    engine, state = start(job, shardset, HERE, RunLog(Path(job.run)))
    before, now = checkpoint.load_model(source), engine.module.state_dict()
    assert state.step == 0
    assert shardset.classes == ("n00000000", *source.card.classes[3:])
    assert torch.equal(now["head.weight"][1:], before["head.weight"][3:])
    assert torch.equal(now["head.bias"][1:], before["head.bias"][3:])
    table = "features.1.0.attn.relative_position_bias_table"
    assert (len(before[table]), len(now[table])) == (49, 121)  # (2 x 4 - 1)^2 and (2 x 6 - 1)^2
    assert torch.equal(now["features.0.0.weight"], before["features.0.0.weight"])
    lines = json.loads((tmp_path / "run" / TRANSFER).read_text())["lines"]
    assert lines[1:] == [
        "2 bias tables interpolated from window 4 to 6 (bicubic, Microsoft's rule)",
        "3 classes of the head carried over by WNID",
        "1 classes start fresh, unknown to the checkpoint: n00000000",
        "3 classes of the checkpoint are left behind, unknown to the data",
    ]


def test_a_fine_tune_that_goes_on_needs_its_first_checkpoint_no_more(
    pretrained: Path, other_classes: str, tmp_path: Path
) -> None:
    source = Path(shutil.copytree(pretrained, tmp_path / "source"))
    job = job_at(tmp_path / "run", other_classes, tuning_plan(source, other_classes))
    work(job, HERE)
    expected = saved(tmp_path / "run", 1)
    shutil.rmtree(source)
    with pytest.raises(RunError, match="is no whole checkpoint"):
        work(job, HERE)
    work(job.model_copy(update={"resume": f"{job.run}/{key_of(1)}"}), HERE)
    assert saved(tmp_path / "run", 1) == expected


def test_the_start_may_not_change_once_it_was_planned(
    pretrained: Path, other_classes: str, small_set: str, tmp_path: Path
) -> None:
    """The plan holds the digest of the checkpoint it was made for."""
    source = Path(shutil.copytree(pretrained, tmp_path / "source"))
    plan = tuning_plan(source, other_classes)
    shutil.rmtree(source)
    work(job_at(source, small_set, plan_for(small_set, model=TINY_SWIN, seed=1, **ONE_STEP)), HERE)
    with pytest.raises(RunError, match="is another checkpoint than the one that was planned"):
        work(job_at(tmp_path / "run", other_classes, plan), HERE)
