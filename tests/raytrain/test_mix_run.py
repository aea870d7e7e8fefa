"""Training on a mix: its plan as people read it, a run killed and continued on fewer workers, what is told of it."""

import shutil
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from dirty import spoil
from gloo import on_ranks
from plans import paper_shardset, tiny_recipe
from test_audit import audited, work_until_killed

from cluster.fleet import load_fleet, presets
from data_shards.loader import train_batches
from data_shards.mix import Mix, load_mix
from data_shards.pack import PackOptions, pack
from data_shards.shardset import Split
from data_shards.shared_keys import check_keys
from data_shards.store import open_store
from data_shards.synth import SynthOptions, synth
from data_shards.training import Part, Training
from data_shards.verify import verify
from raytrain.console import main
from raytrain.errors import UsageError
from raytrain.job import Job
from raytrain.manifest import key_of, newest
from raytrain.manifest import verify as verify_checkpoint
from raytrain.offline import evaluate_checkpoint
from raytrain.plan import RunPlan, resolve
from raytrain.ranks import Ranks
from raytrain.recipes import recipe
from raytrain.report import build_report
from raytrain.runlog import JOB, LEDGER, PLAN, QUARANTINE, read_rows
from raytrain.tell import plan_text
from raytrain.worker import work

HERE = Ranks(rank=0, world=1, device=torch.device("cpu"))
STEPS, BATCH = 18, 16
EMPTY = Split(shards=(), class_counts=())


def paper_mix() -> Mix:
    """ImageNet-22K and a set of one's own, 3 to 1, without files."""
    wide, mine = paper_shardset(14_197_122, 50_000, 21_841), paper_shardset(300_000, 10, 20)
    parts = (
        Part(name="imagenet-22k", url="s3://bucket/22k", shardset=wide, split="train", weight=3),
        Part(name="mine", url="s3://bucket/mine", shardset=mine, split="train", weight=1),
    )
    return Mix(name="mix", training=Training(parts=parts), shared_keys="refused")


def test_its_plan_reads_as_accepted(golden: Callable[[str, str], None]) -> None:
    plan = resolve(recipe("swin_b_22k_224"), presets()["h200x8"], paper_mix())
    golden("plans/mix.txt", plan_text(plan) + "\n")
    assert plan.lengths.steps_per_epoch == 4622  # 14,197,122 x 4 / 3 / 4096 = 4,621.46
    again = RunPlan.model_validate_json(plan.model_dump_json())
    assert (again, again.hash) == (plan, plan.hash)
    alone = resolve(recipe("swin_b_22k_224"), presets()["h200x8"], paper_mix().first.shardset)
    assert "sets" not in alone.model_dump()["data"], "the hashes of earlier plans stay"


def test_the_first_set_is_held_out() -> None:
    mix = paper_mix()
    assert resolve(tiny_recipe(), presets()["local"], mix).data.eval_samples == 50_000
    wide = mix.first.shardset.model_copy(update={"splits": {**mix.first.shardset.splits, "val": EMPTY}})
    parts = (mix.first.model_copy(update={"shardset": wide}), mix.training.parts[1])
    with pytest.raises(UsageError, match="split 'val' of shard set 'paper' is empty"):
        resolve(tiny_recipe(), presets()["local"], mix.model_copy(update={"training": Training(parts=parts)}))


@pytest.fixture(scope="module")
def other_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 images of 5 classes in 3 shards, some of the classes small_set's, none of the keys. Not to be changed."""
    root = tmp_path_factory.mktemp("other")
    synth(
        root / "drawn",
        SynthOptions(classes=5, images=8, val_images=1, size=32, space="1k"),
        1,
        lambda *_: None,
    )
    for picture in (root / "drawn").glob("*/*/*.*"):
        picture.rename(picture.with_name(f"my-{picture.name}"))
    pack(
        root / "drawn",
        str(root / "set"),
        PackOptions(name="other", samples_per_shard=16),
        1,
        0.0,
        lambda *_: None,
    )
    return root / "set"


@pytest.fixture
def mix(small_set: str, other_set: Path, tmp_path: Path) -> str:
    """URL of a mix of copies, 3 to 1: small (120 images) and other (40)."""
    shutil.copytree(small_set, tmp_path / "small")
    shutil.copytree(other_set, tmp_path / "other")
    file = tmp_path / "mix.yaml"
    file.write_text("sets:\n  - {url: small, weight: 3}\n  - {url: other, weight: 1}\n")
    return str(file)


def job_at(run: Path, data: str, workers: int = 1, max_bad: float = 1e-4) -> Job:
    """18 steps: 288 slots, 216 of the first set (1.8 epochs of its own) and 72 of the other (1.8)."""
    run.mkdir(exist_ok=True)
    chosen = tiny_recipe(precision="fp32", epochs=1.8, evaluate_epochs=9, checkpoint_epochs=0.3)
    plan = resolve(chosen, load_fleet("local", workers), load_mix(data), engine="torch")
    assert (plan.lengths.steps, plan.data.train_samples) == (STEPS, 160)
    (run / PLAN).write_text(plan.model_dump_json())
    (run / JOB).write_text(f'{{"data_url": "{data}"}}')
    found, _ = newest(open_store(str(run)))
    resume = found.url if found else None
    return Job(plan=plan, data_url=data, run=str(run), resume=resume, max_bad=max_bad)


def by_set(run: Path) -> list[tuple[object, ...]]:
    return [(e.set, e.epoch, e.delivered, e.quarantined, e.missing) for e in audited(run).epochs]


WHOLE = [("small", 0, 120, 0, 0), ("small", 1, 96, 0, 0), ("other", 0, 40, 0, 0), ("other", 1, 32, 0, 0)]


@pytest.mark.ranks
def test_killed_on_two_workers_and_continued_on_one_it_has_no_gap(mix: str, tmp_path: Path) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    work(job_at(whole, mix), HERE)
    assert by_set(whole) == WHOLE
    for workers, last in ((2, 8), (1, None)):
        with pytest.raises(torch.multiprocessing.ProcessExitedException) if last else nullcontext():
            on_ranks(workers, work_until_killed, tmp_path, job_at(run, mix, workers), last)
        assert audited(run).proven
    assert audited(run).workers == (2, 1)
    assert by_set(run) == WHOLE
    ends = [read_rows(folder / LEDGER)[-1]["delivered"] for folder in (run, whole)]
    assert ends[0] == ends[1], "the same samples at the same slots as one worker's"


def test_what_is_told_of_a_run_on_a_mix(
    mix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(tmp_path / "other", "train", [(1, 5)])
    run = tmp_path / "run"
    work(job_at(run, mix), HERE)
    (line,) = read_rows(run / QUARANTINE)
    assert (line["split"], line["row"]) == ("train", 5)
    assert line["shard"].startswith("other/train-")
    assert line["key"].startswith(f"other/{line['wnid']}/my-{line['wnid']}")
    assert [row[:4] for row in by_set(run) if row[:2] == ("other", 0)] == [("other", 0, 39, 1)]
    classes = load_mix(mix).classes
    card = verify_checkpoint(f"{run}/{key_of(STEPS)}").card
    assert card.classes == classes
    report = build_report(str(run))
    assert report.data_problem is None
    assert set(report.classes.items()) <= set(enumerate(classes))
    found = evaluate_checkpoint(str(run), mix, split="val", image_size=None, say=lambda _: None)
    assert (found.samples, found.top1) == (30, report.evaluation.top1 if report.evaluation else None)
    rows = (run / LEDGER).read_text().splitlines(keepends=True)
    (run / LEDGER).write_text("".join(rows[:-1]))
    monkeypatch.setattr(sys, "argv", ["raytrain", "data", "audit", str(run)])
    with pytest.raises(SystemExit) as end:
        main()
    text = capsys.readouterr().out
    assert end.value.code == 1
    assert "of other  not finished: judged so far as it went" in text
    assert ": other/train-" in text
    assert ", key other/n" in text
    (tmp_path / "mix.yaml").write_text((tmp_path / "mix.yaml").read_text().replace("weight: 3", "weight: 2"))
    problem = build_report(str(run)).data_problem
    assert problem is not None
    assert "is another set now" in problem


def test_a_resume_has_the_batches_that_were_due(mix: str) -> None:
    def batches(world: int, seen: int, count: int) -> dict[int, tuple[int, torch.Tensor]]:
        found: dict[int, tuple[int, torch.Tensor]] = {}
        for rank in range(world):
            stream = train_batches(
                training=load_mix(mix).training, view=tiny_recipe().view, seed=0, global_batch=BATCH,
                micro_batch=BATCH // world, rank=rank, world=world, samples_seen=seen,
            )  # fmt: skip
            for _ in range(count):
                batch = next(stream)
                columns = (batch.slots.tolist(), batch.labels.tolist(), batch.images)
                found |= {slot: (label, image) for slot, label, image in zip(*columns, strict=True)}
            stream.close()
        return found

    whole, later = batches(1, 0, 6), batches(2, 48, 3)
    assert sorted(later) == list(range(48, 96))
    for slot, (label, image) in later.items():
        assert (label, image.tolist()) == (whole[slot][0], whole[slot][1].tolist())


def test_the_command_plans_a_mix_once_its_keys_are_known(
    mix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def planned() -> tuple[int, str]:
        command = ["raytrain", "plan", "smoke_resnext_cbam_22k", "--data", mix, "--set", "global_batch=16"]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as end:
            main()
        told = capsys.readouterr()
        return int(end.value.code or 0), told.out + told.err

    code, text = planned()
    assert code != 0
    assert f"the keys of {tmp_path}/small are not known yet" in text
    for name in ("small", "other"):
        verify(str(tmp_path / name), 1, lambda *_: None)
    code, text = planned()
    assert code == 0
    assert "160 train, 30 held out" in text
    assert "small/train: 75.0% of the images drawn; its 120 come 1 x an epoch" in text
    check_keys(mix, load_mix(mix), "val")
