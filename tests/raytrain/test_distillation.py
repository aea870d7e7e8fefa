"""A teacher: its part of the loss by hand, its classes by WNID, and whole runs that it teaches."""

import shutil
from pathlib import Path

import pytest
import torch
from plans import TINY_RESNET, paper_shardset, tiny_recipe
from test_worker import HERE, TINY_SWIN, figures, job_at, plan_for, saved
from torch.nn import functional as F

from cluster.fleet import Fleet
from data_shards.pack import PackOptions, pack
from data_shards.shardset import load_shardset
from raytrain.checkpoint import load_model
from raytrain.errors import ResumeLater, RunError, UsageError
from raytrain.losses import distilled, soft_cross_entropy
from raytrain.manifest import key_of, rows_of, teacher_from, verify
from raytrain.models.arithmetic import forward_macs, parameters
from raytrain.models.build import build
from raytrain.models.spec import VitSpec
from raytrain.plan import RunPlan, Teacher, resolve
from raytrain.recipe import Distillation
from raytrain.teacher import load_teacher
from raytrain.tell import plan_text
from raytrain.worker import STOP_FILE, work

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]], requires_grad=True)
TARGETS = torch.tensor([[0.9, 0.1, 0.0], [0.0, 1.0, 0.0]])
TAUGHT = torch.tensor([[0.0, 4.0, 1.0], [1.0, 0.0, 2.0]])


def loss(kind: str, alpha: float = 0.25, temperature: float = 1.0) -> torch.Tensor:
    how = Distillation.model_validate({"kind": kind, "alpha": alpha, "temperature": temperature})
    return distilled(LOGITS, TARGETS, teacher=TAUGHT, distillation=how)


def gradient(value: torch.Tensor) -> torch.Tensor:
    (found,) = torch.autograd.grad(value, LOGITS)
    return found


def test_a_hard_teacher_is_a_second_label() -> None:
    labels = 0.75 * TARGETS + 0.25 * torch.eye(3)[[1, 2]]
    torch.testing.assert_close(loss("hard"), soft_cross_entropy(LOGITS, labels))
    torch.testing.assert_close(loss("hard", alpha=0), soft_cross_entropy(LOGITS, TARGETS))


def test_a_soft_teacher_pulls_towards_its_probabilities() -> None:
    labels = 0.75 * TARGETS + 0.25 * TAUGHT.softmax(1)
    torch.testing.assert_close(gradient(loss("soft")), gradient(soft_cross_entropy(LOGITS, labels)))
    ours, theirs = (F.softmax(scores / 4, 1) for scores in (LOGITS, TAUGHT))
    divergence = (theirs * (theirs / ours).log()).sum(1).mean()
    torch.testing.assert_close(loss("soft", alpha=1, temperature=4), 16 * divergence)
    own = distilled(LOGITS, TARGETS, teacher=LOGITS.detach(), distillation=Distillation(kind="soft", alpha=1))
    assert own.item() == pytest.approx(0, abs=1e-6)


def test_the_rows_of_classes_by_wnid() -> None:
    assert rows_of(("c", "a", "x", "b"), ("a", "b", "c")) == [1, 3, 0]
    with pytest.raises(
        UsageError, match="knows 2 classes, and 1 of the data's 3 are not among them, such as b:"
    ):
        rows_of(("c", "a"), ("a", "b", "c"))


@pytest.fixture(scope="module")
def school(small_set: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a Swin on all six classes, to be a teacher."""
    run = tmp_path_factory.mktemp("school") / "run"
    lengths = {"epochs": 0.4, "evaluate_epochs": 9, "checkpoint_epochs": 9}
    work(job_at(run, small_set, plan_for(small_set, model=TINY_SWIN, **lengths)), HERE)
    return run


@pytest.fixture(scope="module")
def fewer(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The last three of the six classes: labels 0, 1, 2 are the teacher's rows 3, 4, 5."""
    root = tmp_path_factory.mktemp("fewer")
    for split in ("train", "val"):
        for folder in sorted((pictures / split).iterdir())[3:]:
            shutil.copytree(folder, root / "images" / split / folder.name)
    pack(root / "images", str(root / "set"), PackOptions(name="fewer"), 1, 0.0, lambda *_: None)
    return str(root / "set")


def taught(school: Path, data: str, kind: str = "soft") -> RunPlan:
    plan = plan_for(data, distillation={"kind": kind, "alpha": 0.9, "temperature": 2.0})
    teacher = teacher_from(str(school), load_shardset(data).classes, print)
    fleet = Fleet(name="test", sustained_tflops=1)
    return resolve(plan.recipe, fleet, load_shardset(data), engine="torch", teacher=teacher)


def test_its_logits_are_those_of_the_datas_classes(school: Path, fewer: str) -> None:
    plan, classes = taught(school, fewer), load_shardset(fewer).classes
    assert plan.teacher is not None
    answer = load_teacher(plan.teacher, plan, classes, HERE.device)
    module = build(TINY_SWIN, 6, 16, seed=None)
    module.load_state_dict(load_model(verify(plan.teacher.checkpoint)))
    images = torch.randn(4, 3, 16, 16)
    found = answer(images)
    assert not found.requires_grad
    torch.testing.assert_close(found, module.eval()(images)[:, 3:])


def test_a_taught_run_goes_on_exactly_and_differs_from_an_untaught_one(
    school: Path, fewer: str, tmp_path: Path
) -> None:
    plan = taught(school, fewer)
    work(job_at(tmp_path / "straight", fewer, plan), HERE)
    run = tmp_path / "stopped"
    job = job_at(run, fewer, plan)
    with pytest.raises(ResumeLater):
        work(job, HERE, lambda _: (run / STOP_FILE).touch())
    (run / STOP_FILE).unlink()
    step = max(int(path.name[5:]) for path in (run / "checkpoints").iterdir())
    work(job.model_copy(update={"resume": f"{run}/{key_of(step)}"}), HERE)
    assert figures(run) == figures(tmp_path / "straight")
    last = plan.lengths.steps
    assert saved(run, last) == saved(tmp_path / "straight", last)
    work(job_at(tmp_path / "alone", fewer, plan.model_copy(update={"teacher": None})), HERE)
    assert saved(tmp_path / "alone", last)["model.pt"] != saved(run, last)["model.pt"]


def test_the_plan_names_the_teacher_and_counts_it(school: Path, small_set: str) -> None:
    with_one = taught(school, small_set)
    without = resolve(
        with_one.recipe, Fleet(name="test", sustained_tflops=1), load_shardset(small_set), engine="torch"
    )
    assert with_one.teacher is not None
    text = plan_text(with_one)
    assert f"teacher           {school}/{key_of(3)} ({with_one.teacher.digest[:12]})" in text
    assert "distillation      soft at temperature 2, 0.9 of the loss" in text
    assert "distillation" not in plan_text(without)
    more = (with_one.estimates.worker_gib - without.estimates.worker_gib) * 2**30
    assert more == pytest.approx(4 * parameters(TINY_SWIN, 6, 16))
    assert with_one.estimates.hours is not None
    assert without.estimates.hours is not None
    student, teacher = forward_macs(with_one.recipe.model, 6, 16), forward_macs(TINY_SWIN, 6, 16)
    assert with_one.estimates.hours / without.estimates.hours == pytest.approx(1 + teacher / (3 * student))
    assert with_one.hash != without.hash


def test_a_teacher_that_changed_is_refused(school: Path, small_set: str, tmp_path: Path) -> None:
    plan = taught(school, small_set)
    assert plan.teacher is not None
    other = plan.model_copy(update={"teacher": plan.teacher.model_copy(update={"digest": "0" * 64})})
    with pytest.raises(RunError, match="is another teacher than the one that was planned"):
        work(job_at(tmp_path / "run", small_set, other), HERE)


def test_a_teacher_that_cannot_see_the_images_is_refused() -> None:
    place = {"source": "T", "checkpoint": "T", "digest": "0", "classes": 8}
    vit = Teacher(**place, model=VitSpec(patch=8, width=16, depth=1, heads=2), image_size=32)
    swin = Teacher(**place, model=TINY_SWIN.model_copy(update={"window": 3}), image_size=12)
    fleet = Fleet(name="test")
    with pytest.raises(
        UsageError, match=r"ViT for 32 px, the recipe trains at 16 px: --set view\.image_size=32"
    ):
        resolve(tiny_recipe(model=TINY_RESNET), fleet, paper_shardset(), teacher=vit)
    with pytest.raises(UsageError, match=r"the teacher T cannot look at 16 px: .*window"):
        resolve(tiny_recipe(model=TINY_RESNET), fleet, paper_shardset(), teacher=swin)
