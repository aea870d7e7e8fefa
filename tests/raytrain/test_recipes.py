"""The recipes: all there, each read and accepted, and the full-size ones against the repositories they cite."""

import inspect
from collections.abc import Callable

import pytest

from raytrain.errors import UsageError
from raytrain.models.arithmetic import stage_sides
from raytrain.models.spec import ResNetSpec, SwinSpec
from raytrain.recipe import Recipe
from raytrain.recipes import names, recipe, resnext, smoke, swin

FUNCTIONS = {
    name: function
    for module in (smoke, swin, resnext)
    for name, function in inspect.getmembers(module, inspect.isfunction)
    if function.__module__ == module.__name__ and not name.startswith("_")
}
SWINS = [name for name in names() if name.startswith("swin")]


def test_names_are_the_functions_and_the_functions_the_names() -> None:
    assert len(names()) == 17
    assert set(names()) == FUNCTIONS.keys()
    assert [recipe(name).name for name in names()] == names()


@pytest.mark.parametrize("name", names())
def test_recipes_read_as_accepted(name: str, golden: Callable[[str, str], None]) -> None:
    found = recipe(name)
    golden(f"recipes/{name}.json", found.model_dump_json(indent=1) + "\n")
    assert Recipe.model_validate_json(found.model_dump_json()) == found
    assert inspect.getdoc(FUNCTIONS[name])
    assert len(found.source) > 20
    assert found.published is None or (len(found.published.source) > 10 and 70 < found.published.top1 < 90)


@pytest.mark.parametrize("name", names())
def test_windows_tile_the_image_in_every_stage(name: str) -> None:
    found = recipe(name)
    if isinstance(found.model, ResNetSpec):
        return
    sides = stage_sides(found.model, found.view.image_size)
    assert [side % found.model.window for side in sides] == [0] * len(found.model.depths)


SWIN_TABLE = {
    # microsoft/Swin-Transformer: configs/swin/*.yaml and get_started.md (batches), README.md (top-1)
    #   name                  lr    batch epochs warm wd    drop  px  win crop   top-1
    "swin_b_22k": (1e-3, 4096, 90, 5, 0.05, 0.2, 224, 7, 0.875, None),
    "swin_l_22k": (1e-3, 4096, 90, 5, 0.05, 0.2, 224, 7, 0.875, None),
    "swin_b_22k_to_1k": (4e-5, 1024, 30, 5, 1e-8, 0.2, 224, 7, 0.875, 85.2),
    "swin_l_22k_to_1k": (4e-5, 1024, 30, 5, 1e-8, 0.2, 224, 7, 0.875, 86.3),
    "swin_b_22k_to_1k_384": (4e-5, 1024, 30, 5, 1e-8, 0.2, 384, 12, 1.0, 86.4),
    "swin_l_22k_to_1k_384": (4e-5, 1024, 30, 5, 1e-8, 0.2, 384, 12, 1.0, 87.3),
    "swin_t_1k": (1e-3, 1024, 300, 20, 0.05, 0.2, 224, 7, 0.875, 81.2),
    "swin_s_1k": (1e-3, 1024, 300, 20, 0.05, 0.3, 224, 7, 0.875, 83.2),
    "swin_b_1k": (1e-3, 1024, 300, 20, 0.05, 0.5, 224, 7, 0.875, 83.5),
}


def test_the_table_holds_every_swin_recipe() -> None:
    assert set(SWINS) == SWIN_TABLE.keys()


@pytest.mark.parametrize("name", SWINS)
def test_swin_recipes_are_microsofts(name: str) -> None:
    found = recipe(name)
    optimizer, schedule, model = found.optimizer, found.schedule, found.model
    assert isinstance(model, SwinSpec)
    lr, batch, epochs, warmup, decay, drop, pixels, window, crop, top1 = SWIN_TABLE[name]
    used = optimizer.lr * found.global_batch / optimizer.lr_batch
    assert used == pytest.approx(lr)
    assert (found.global_batch, found.epochs, schedule.warmup_epochs) == (batch, epochs, warmup)
    assert (optimizer.weight_decay, model.drop_path) == (decay, drop)
    assert (found.view.image_size, model.window, found.view.eval_crop) == (pixels, window, crop)
    assert (found.published.top1 if found.published else None) == top1
    # WARMUP_LR and MIN_LR are a thousandth and a hundredth of BASE_LR in every one of these files
    assert (schedule.warmup_start, schedule.end) == (1e-3, 1e-2)
    # config.py, and no yaml overrides it
    assert (optimizer.name, optimizer.betas, optimizer.eps, optimizer.clip_norm) == (
        "adamw",
        (0.9, 0.999),
        1e-8,
        5,
    )
    view = found.view  # AUG.AUTO_AUGMENT rand-m9-mstd0.5-inc1, DATA.INTERPOLATION
    assert (view.auto_augment, view.magnitude, view.color_jitter, view.interpolation) == (
        "rand",
        9,
        0,
        "bicubic",
    )
    moving = found.regularization
    assert (moving.label_smoothing, moving.mixup, moving.cutmix, moving.random_erasing) == (
        0.1,
        0.8,
        1.0,
        0.25,
    )


def test_a_fine_tune_starts_from_the_network_that_was_pretrained() -> None:
    for size in "bl":
        before, same, larger = (
            recipe(f"swin_{size}_{stage}").model for stage in ("22k", "22k_to_1k", "22k_to_1k_384")
        )
        assert before == same == larger.model_copy(update={"window": 7})


@pytest.mark.parametrize(("depth", "error"), [(50, 21.92), (101, 21.07)])
def test_cbam_recipes_are_the_repositorys(depth: int, error: float) -> None:
    """Jongchan/attention-module train_imagenet.py: SGD 0.1, momentum 0.9, batch 256, 100 epochs, 1e-4 on everything."""
    found = recipe(f"resnext{depth}_cbam_1k")
    optimizer, moving, model = found.optimizer, found.regularization, found.model
    assert (optimizer.name, optimizer.lr, optimizer.lr_batch, optimizer.momentum) == ("sgd", 0.1, 256, 0.9)
    assert (optimizer.weight_decay, optimizer.decay_all, optimizer.clip_norm) == (1e-4, True, None)
    assert (found.global_batch, found.epochs) == (256, 100)
    schedule = found.schedule  # adjust_learning_rate: lr * (0.1 ** (epoch // 30))
    assert (schedule.shape, schedule.warmup_epochs) == ("step", 0)
    assert (schedule.step_epochs, schedule.step_factor) == (30, 0.1)
    assert (moving.label_smoothing, moving.mixup, moving.cutmix, moving.random_erasing) == (0, 0, 0, 0)
    # transforms.RandomSizedCrop, Scale and flips, all with torchvision's bilinear default
    assert (found.view.interpolation, found.view.auto_augment, found.view.color_jitter) == (
        "bilinear",
        "none",
        0,
    )
    assert isinstance(model, ResNetSpec)
    assert (model.attention, model.groups, model.width_per_group, model.reduction) == ("cbam", 32, 4, 16)
    assert sum(model.depths) * 3 + 2 == depth
    assert found.published is not None
    assert found.published.top1 == pytest.approx(100 - error)


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("swin_b", "swin_b_1k"),
        ("swinb_22k", "swin_b_22k"),
        ("resnext50", "resnext50_cbam_1k"),
        ("SMOKE_SWIN_22K", None),
    ],
)
def test_an_unknown_recipe_names_the_nearest(wrong: str, nearest: str | None) -> None:
    with pytest.raises(UsageError) as refused:
        recipe(wrong)
    said = str(refused.value)
    assert said.startswith(f"unknown recipe '{wrong}'; the nearest: ")
    assert said.endswith("All: raytrain recipes")
    assert nearest is None or nearest in said
