"""The recipes: found by name, and their numbers against the papers and repositories they cite."""

import inspect
import re

import pytest

from raytrain.errors import UsageError
from raytrain.models.arithmetic import stage_sides
from raytrain.models.cards import CBAM, cards
from raytrain.models.named import named
from raytrain.models.spec import ResNetSpec, SwinSpec
from raytrain.recipe import Recipe
from raytrain.recipes import GROUPS, builders, names, recipe, variants

SECTIONS = ["Source", "Theirs", "Ours", "Expected", "Differs"]
FULL_SIZE = [name for name in names() if not name.startswith("smoke")]
SWINS = [name for name in names() if name.startswith("swin")]


def documentation(name: str) -> str:
    """The docstring of a recipe's function."""
    found = next(builders(group)[name] for group in GROUPS if name in builders(group))
    return inspect.getdoc(getattr(found, "func", found)) or ""


def test_there_are_as_many_recipes_as_a_person_counted() -> None:
    assert {group: len(builders(group)) for group in GROUPS} == {
        "swin": 10,
        "swin_paper": 10,
        "cbam": 6,
        "ablations": 2 * (3 * 8 + 7)
        - 6,  # three gates of eight networks and seven more of ResNet50; six are above
        "modern": 9,
        "cbam_22k": 4,
        "smoke": 6,
    }
    assert len(names()) == len(set(names())) == 101


@pytest.mark.parametrize("name", names())
def test_a_recipe_has_its_name_and_a_source_and_survives_json(name: str) -> None:
    found = recipe(name)
    assert found.name == name
    assert Recipe.model_validate_json(found.model_dump_json()) == found
    assert len(found.source) > 20
    assert found.published is None or (len(found.published.source) > 10 and 70 < found.published.top1 < 90)


@pytest.mark.parametrize("name", FULL_SIZE)
def test_a_function_says_where_its_numbers_come_from(name: str) -> None:
    lines = documentation(name).splitlines()
    assert [line.split(":")[0] for line in lines if line.split(":")[0] in SECTIONS] == SECTIONS
    command = rf"Ours: raytrain train ({name}|NAME) --data s3://bucket/{recipe(name).made_for} --out "
    assert re.search(command, documentation(name))


@pytest.mark.parametrize("name", SWINS)
def test_windows_tile_the_image_in_every_stage(name: str) -> None:
    found = recipe(name)
    assert isinstance(found.model, SwinSpec)
    sides = stage_sides(found.model, found.view.image_size)
    assert [side % found.model.window for side in sides] == [0] * len(found.model.depths)


def test_variants_are_the_repositorys_and_the_papers_whichever_is_named() -> None:
    both = {"repository": recipe("swin_b_22k_224"), "paper": recipe("swin_b_22k_224_paper")}
    assert variants("swin_b_22k_224") == variants("swin_b_22k_224_paper") == both
    alone = {"repository": recipe("resnet50_1k_modern")}
    assert variants("resnet50_1k_modern") == alone
    assert (
        variants("smoke_swin_22k") == variants("cbam_resnext50_22k_224") == variants("mine.py:recipe") == {}
    )


SWIN_TABLE = {
    # microsoft/Swin-Transformer f82860b: configs/swin/*.yaml and get_started.md (batches), README.md (top-1)
    #   name                  lr    batch epochs warm wd    drop  px  win crop   top-1
    "swin_t_1k_224": (1e-3, 1024, 300, 20, 0.05, 0.2, 224, 7, 0.875, 81.2),
    "swin_s_1k_224": (1e-3, 1024, 300, 20, 0.05, 0.3, 224, 7, 0.875, 83.2),
    "swin_b_1k_224": (1e-3, 1024, 300, 20, 0.05, 0.5, 224, 7, 0.875, 83.5),
    "swin_b_1k_384": (4e-5, 1024, 30, 5, 1e-8, 0.5, 384, 12, 1.0, 84.5),
    "swin_b_22k_224": (1e-3, 4096, 90, 5, 0.05, 0.2, 224, 7, 0.875, None),
    "swin_l_22k_224": (1e-3, 4096, 90, 5, 0.05, 0.2, 224, 7, 0.875, None),
    "swin_b_1k_224_from_22k": (4e-5, 1024, 30, 5, 1e-8, 0.2, 224, 7, 0.875, 85.2),
    "swin_l_1k_224_from_22k": (4e-5, 1024, 30, 5, 1e-8, 0.2, 224, 7, 0.875, 86.3),
    "swin_b_1k_384_from_22k": (4e-5, 1024, 30, 5, 1e-8, 0.2, 384, 12, 1.0, 86.4),
    "swin_l_1k_384_from_22k": (4e-5, 1024, 30, 5, 1e-8, 0.2, 384, 12, 1.0, 87.3),
    # Liu et al. 2021, appendix A2.1 (its text) and Table 1 (top-1); what it leaves open as above
    "swin_t_1k_224_paper": (1e-3, 1024, 300, 20, 0.05, 0.2, 224, 7, 0.875, 81.3),
    "swin_s_1k_224_paper": (1e-3, 1024, 300, 20, 0.05, 0.3, 224, 7, 0.875, 83.0),
    "swin_b_1k_224_paper": (1e-3, 1024, 300, 20, 0.05, 0.5, 224, 7, 0.875, 83.5),
    "swin_b_1k_384_paper": (1e-5, 1024, 30, 0, 1e-8, 0.1, 384, 12, 1.0, 84.5),
    "swin_b_22k_224_paper": (1e-3, 4096, 90, 5, 0.01, 0.2, 224, 7, 0.875, None),
    "swin_l_22k_224_paper": (1e-3, 4096, 90, 5, 0.01, 0.2, 224, 7, 0.875, None),
    "swin_b_1k_224_from_22k_paper": (1e-5, 1024, 30, 0, 1e-8, 0.2, 224, 7, 0.875, 85.2),
    "swin_l_1k_224_from_22k_paper": (1e-5, 1024, 30, 0, 1e-8, 0.2, 224, 7, 0.875, None),
    "swin_b_1k_384_from_22k_paper": (1e-5, 1024, 30, 0, 1e-8, 0.2, 384, 12, 1.0, 86.4),
    "swin_l_1k_384_from_22k_paper": (1e-5, 1024, 30, 0, 1e-8, 0.2, 384, 12, 1.0, 87.3),
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
    assert found.made_for == ("imagenet-22k" if "22k_224" in name.replace("224_from", "") else "imagenet-1k")
    # WARMUP_LR and MIN_LR are a thousandth and a hundredth of BASE_LR in every one of these files
    assert (schedule.warmup_start, schedule.end) == (1e-3, 1e-2)
    assert schedule.shape == SHAPES.get(name, "cosine")
    # config.py, and no yaml overrides it; the paper has a norm of 1 from scratch
    assert (optimizer.name, optimizer.betas, optimizer.eps) == ("adamw", (0.9, 0.999), 1e-8)
    assert optimizer.clip_norm == (1 if name.endswith("1k_224_paper") else 5)
    view = found.view  # AUG.AUTO_AUGMENT rand-m9-mstd0.5-inc1, DATA.INTERPOLATION
    assert (view.auto_augment, view.magnitude, view.color_jitter) == ("rand", 9, 0)
    assert view.interpolation == "bicubic"
    moving = found.regularization
    assert (moving.label_smoothing, moving.mixup, moving.cutmix) == (0.1, 0.8, 1.0)
    assert moving.random_erasing == 0.25


SHAPES = {
    "swin_b_1k_384_paper": "constant",
    "swin_b_22k_224_paper": "linear",
    "swin_l_22k_224_paper": "linear",
    "swin_b_1k_224_from_22k_paper": "constant",
    "swin_l_1k_224_from_22k_paper": "constant",
    "swin_b_1k_384_from_22k_paper": "constant",
    "swin_l_1k_384_from_22k_paper": "constant",
}


@pytest.mark.parametrize("paper", ["", "_paper"])
@pytest.mark.parametrize("size", "bl")
def test_a_fine_tune_starts_from_the_network_that_was_pretrained(size: str, paper: str) -> None:
    before, same, larger = (
        recipe(f"swin_{size}_{stage}{paper}").model
        for stage in ("22k_224", "1k_224_from_22k", "1k_384_from_22k")
    )
    assert before == same == larger.model_copy(update={"window": 7})


CBAM_TABLE = {
    # Woo et al. 2018, main table (errors); the README's 77.622 is of the repository's own weights
    "cbam_resnet50_1k_2018": (50, 77.622),
    "cbam_resnext50_1k_2018": (50, 100 - 21.92),
    "cbam_resnext101_1k_2018": (101, 100 - 21.07),
    "cbam_resnet50_1k_2018_paper": (50, 100 - 22.66),
    "cbam_resnext50_1k_2018_paper": (50, 100 - 21.92),
    "cbam_resnext101_1k_2018_paper": (101, 100 - 21.07),
}


@pytest.mark.parametrize("name", CBAM_TABLE)
def test_cbam_recipes_are_the_repositorys(name: str) -> None:
    """Jongchan/attention-module train_imagenet.py: SGD 0.1, momentum 0.9, batch 256, 1e-4 on everything."""
    found, (depth, top1) = recipe(name), CBAM_TABLE[name]
    optimizer, moving, model = found.optimizer, found.regularization, found.model
    assert (optimizer.name, optimizer.lr, optimizer.lr_batch, optimizer.momentum) == ("sgd", 0.1, 256, 0.9)
    assert (optimizer.weight_decay, optimizer.decay_all, optimizer.clip_norm) == (1e-4, True, None)
    assert (found.global_batch, found.epochs) == (256, 90 if name.endswith("paper") else 100)
    schedule = found.schedule  # adjust_learning_rate: lr * (0.1 ** (epoch // 30))
    assert (schedule.shape, schedule.warmup_epochs) == ("step", 0)
    assert (schedule.step_epochs, schedule.step_factor) == (30, 0.1)
    assert (moving.label_smoothing, moving.mixup, moving.cutmix, moving.random_erasing) == (0, 0, 0, 0)
    # transforms.RandomSizedCrop, Scale and flips, all with torchvision's bilinear default
    view = found.view
    assert (view.interpolation, view.auto_augment, view.color_jitter) == ("bilinear", "none", 0)
    assert isinstance(model, ResNetSpec)
    assert (model.attention, model.reduction) == ("cbam", 16)
    assert (model.groups, model.width_per_group) == ((32, 4) if "resnext" in name else (1, 64))
    assert sum(model.depths) * 3 + 2 == depth
    assert model.stride_in_1x1 == name.endswith("paper")
    assert found.published is not None
    assert found.published.top1 == pytest.approx(top1)


def test_every_row_of_the_cbam_papers_tables_has_its_two_recipes() -> None:
    """31 networks: the paper's with its stride, the script's with torchvision's, and the figure that is printed."""
    rows = {name: recipe(name) for name in names() if "_1k_2018" in name}
    models = {card.model: card for card in reversed(cards().values()) if card.paper == CBAM}
    assert len(rows) == 2 * len(models) == 62
    for name, found in rows.items():
        if name.endswith("_paper"):
            (card,) = [card for card in models.values() if named(card.model) == found.model]
            assert found.published is not None
            assert card.top1 is not None
            assert found.published.top1 == pytest.approx(float(100 - card.top1))
            script = rows[name.removesuffix("_paper")]
            assert script.model == found.model.model_copy(update={"stride_in_1x1": False})
            assert (script.epochs, found.epochs) == (100, 90)
            same = {"name": "", "source": "", "summary": "", "model": None, "epochs": 0, "published": None}
            assert script.model_copy(update=same) == found.model_copy(update=same)


@pytest.mark.parametrize("name", [name for name in names() if name.endswith("_modern")])
def test_modern_recipes_are_torchvisions(name: str) -> None:
    """The table of parameters of "How to Train State-Of-The-Art Models Using TorchVision's Latest Primitives"."""
    found = recipe(name)
    optimizer, schedule, view, moving = found.optimizer, found.schedule, found.view, found.regularization
    assert (found.global_batch, found.epochs) == (8 * 128, 600)
    assert (optimizer.name, optimizer.momentum) == ("sgd", 0.9)
    assert (optimizer.lr, optimizer.lr_batch) == (0.5, 1024)
    assert (optimizer.weight_decay, optimizer.decay_all, optimizer.clip_norm) == (2e-5, False, None)
    assert (schedule.shape, schedule.warmup_epochs, schedule.warmup_start) == ("cosine", 5, 0.01)
    assert schedule.end == 0
    assert (moving.label_smoothing, moving.mixup, moving.cutmix) == (0.1, 0.2, 1.0)
    assert (moving.random_erasing, moving.repeats) == (0.1, 4)
    assert (view.auto_augment, view.interpolation, view.image_size) == ("trivial", "bilinear", 224)
    assert (round(view.image_size / view.eval_crop), found.largest_image) == (232, 176)
    # model_ema_decay 0.99998, adjusted by 8 x 128 x 32 / 600, is what 32 of ours make
    assert found.ema_decay is not None
    assert found.ema_decay**32 == pytest.approx(1 - 2e-5 * 8 * 128 * 32 / 600, rel=1e-12)
    assert isinstance(found.model, ResNetSpec)
    assert not found.model.stride_in_1x1
    published = {"resnet50_1k_modern": 80.858, "resnext50_1k_modern": 81.198}
    assert (found.published.top1 if found.published else None) == published.get(name)


def test_modern_recipes_are_three_networks_with_three_gates() -> None:
    plain, gates = {}, {}
    for name in (name for name in names() if name.endswith("_modern")):
        model = recipe(name).model
        assert isinstance(model, ResNetSpec)
        plain[name] = model.model_copy(update={"attention": "none"})
        gates[name] = model.attention
    assert sorted(gates.values()) == ["cbam"] * 3 + ["none"] * 3 + ["se"] * 3
    for network, model in (
        ("resnet50", "resnet50"),
        ("resnext50", "resnext50_32x4d"),
        ("resnext101", "resnext101_32x4d"),
    ):
        assert [plain[f"{gate}{network}_1k_modern"] for gate in ("", "se_", "cbam_")] == [named(model)] * 3


@pytest.mark.parametrize("depth", [50, 101])
def test_cbam_on_22k_has_swins_lengths_and_torchvisions_rates(depth: int) -> None:
    before, after = recipe(f"cbam_resnext{depth}_22k_224"), recipe(f"cbam_resnext{depth}_1k_224_from_22k")
    swin, tuned = recipe("swin_b_22k_224"), recipe("swin_b_1k_224_from_22k")
    modern = recipe(f"cbam_resnext{depth}_1k_modern")
    for ours, theirs in ((before, swin), (after, tuned)):
        assert (ours.epochs, ours.global_batch, ours.made_for) == (
            theirs.epochs,
            theirs.global_batch,
            theirs.made_for,
        )
        assert ours.schedule.warmup_epochs == theirs.schedule.warmup_epochs
        assert ours.regularization == modern.regularization.model_copy(update={"repeats": 1})
        assert (ours.model, ours.published) == (modern.model, None)
    assert before.optimizer == modern.optimizer
    peaks = {made.name: made.optimizer.lr / made.optimizer.lr_batch for made in (before, after, swin, tuned)}
    assert peaks[before.name] * 4096 == pytest.approx(2.0)
    assert peaks[after.name] / peaks[before.name] == pytest.approx(4e-5 / 1e-3)  # Swin's, at a batch of 1,024
    assert peaks[tuned.name] * 1024 == pytest.approx(4e-5)
    assert peaks[swin.name] * 4096 == pytest.approx(1e-3)
    assert after.optimizer.weight_decay == tuned.optimizer.weight_decay


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("swin_b", "swin_b_1k_224"),
        ("swinb_22k", "swin_b_22k_224"),
        ("resnext50", "resnext50_1k_2018"),
    ],
)
def test_an_unknown_recipe_names_the_nearest(wrong: str, nearest: str) -> None:
    with pytest.raises(UsageError) as refused:
        recipe(wrong)
    said = str(refused.value)
    assert said.startswith(f"unknown recipe '{wrong}'; the nearest: ")
    assert said.endswith("All: raytrain recipes; your own: FILE.py:FUNCTION")
    assert nearest in said


def test_a_name_like_no_other_is_not_answered_with_all_of_them() -> None:
    with pytest.raises(UsageError, match=r"^unknown recipe 'zzz'\. All: raytrain recipes; your own: "):
        recipe("zzz")
