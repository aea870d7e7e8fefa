"""Every recipe's smoke twin takes two steps here, through the real loader, engine and loop."""

import math
from pathlib import Path

import pytest
import torch
from plans import paper_shardset
from test_worker import HERE, job_at

from cluster.fleet import presets
from data_shards.shardset import load_shardset
from data_shards.store import open_store
from raytrain.loop import train_step
from raytrain.plan import resolve
from raytrain.recipe import Recipe
from raytrain.recipes import names, recipe
from raytrain.recipes.twins import twin
from raytrain.runlog import METRICS, RunLog, read_rows
from raytrain.saving import Saver
from raytrain.schedule import learning_rate
from raytrain.settings import change
from raytrain.worker import assemble, start

ALIKE = {"name": "twin", "summary": "", "source": "", "made_for": "synthetic-1k", "precision": "fp32"}


def twins() -> dict[str, Recipe]:
    """The different twins by the first recipe that has each: what only names and sources tell apart is stepped once.

    In fp32, since bf16 is five times as slow on a CPU that has no instructions for it; one Swin and one ResNet in bf16.
    """
    found: dict[str, Recipe] = {}
    for name in names():
        made = twin(recipe(name)).model_copy(update=ALIKE)
        if made not in found.values():
            found[name] = made
    for name in ("swin_t_1k_224", "cbam_resnext50_1k_2018"):
        found[f"{name} in bf16"] = twin(recipe(name)).model_copy(update={"precision": "bf16"})
    return found


TWINS = twins()


@pytest.mark.parametrize("made", TWINS.values(), ids=TWINS)
def test_a_twin_takes_two_steps(made: Recipe, small_set: str, tmp_path: Path) -> None:
    data = load_shardset(small_set)
    plan = resolve(made, presets()["local"], data, engine="torch")
    log = RunLog(tmp_path)
    engine, state = start(job_at(tmp_path, small_set, plan), data, HERE, log)
    before = {key: tensor.clone() for key, tensor in engine.module.named_parameters()}
    saver = Saver(store=open_store(str(tmp_path)), plan=plan, classes=data.classes, ranks=HERE, log=log)
    run = assemble(job_at(tmp_path, small_set, plan), data, HERE, log, engine, state, saver, lambda _: None)
    log.start(0)
    for _ in range(2):
        assert train_step(run) is False
    run.batches.close()
    saver.close()
    log.close()
    rows = read_rows(tmp_path / METRICS)
    assert [row["lr"] for row in rows] == [learning_rate(plan, 0), learning_rate(plan, 1)]
    assert all(math.isfinite(row["loss"]) and row["applied"] for row in rows)
    still = [key for key, tensor in engine.module.named_parameters() if torch.equal(tensor, before[key])]
    # the spatial gate starts at 0, so its convolution has no gradient on the first step and next to none on the second
    assert [key for key in still if not key.endswith(".cbam.conv.weight")] == []


def test_a_twin_keeps_what_a_recipe_does_and_shrinks_the_rest() -> None:
    full = recipe("cbam_resnext50_1k_modern")
    made = twin(full)
    assert (made.view.auto_augment, made.view.eval_crop) == (full.view.auto_augment, full.view.eval_crop)
    assert (made.regularization, made.ema_decay) == (full.regularization, full.ema_decay)
    assert made.optimizer.lr * made.global_batch / made.optimizer.lr_batch == pytest.approx(0.5)
    assert (made.progressive[0].until, made.largest_image, made.view.image_size) == (made.epochs, 25, 32)
    assert (made.made_for, made.published) == ("synthetic-1k", None)
    window = twin(recipe("swin_l_1k_384_from_22k"))
    assert (window.model.window, window.view.image_size) == (12, 48)
    assert twin(recipe("swin_b_22k_224_paper")).schedule.shape == "linear"


def test_the_twin_of_a_swin_in_stages_has_sizes_that_its_windows_tile() -> None:
    stages = [{"until": 100, "image_size": 112}, {"until": 200, "image_size": 448}]
    made = twin(change(recipe("swin_t_1k_224"), {"progressive": stages}))
    assert [stage.image_size for stage in made.progressive] == [28, 56]
    assert resolve(made, presets()["local"], paper_shardset()).lengths.sizes == ((67, 28), (133, 56))
