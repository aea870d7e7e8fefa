"""What the probes try on real recipes: one change of each kind, from where the recipe is."""

import math

import pytest

from data_shards.shardset import Shard, Split
from raytrain.models.named import named
from raytrain.recipes import recipe
from raytrain.settings import change
from tuning.method.capacity import larger
from tuning.method.changes import changes_of, fractions, regularized, stretched

SHARDS = tuple(
    Shard(name=f"s{number}", samples=samples, bytes=1, sha256="0", index_sha256="0")
    for number, samples in enumerate((100, 100, 100, 50))
)
TRAIN = Split(shards=SHARDS, class_counts=(175, 175))


@pytest.mark.parametrize(
    ("name", "called", "settings"),
    [
        (
            "swin_t",
            "swin_s",
            {"model.embed_dim": 96, "model.depths": (2, 2, 18, 2), "model.drop_path": 0.3},
        ),
        (
            "swin_s",
            "swin_b",
            {"model.embed_dim": 128, "model.depths": (2, 2, 18, 2), "model.drop_path": 0.5},
        ),
        ("swin_l", "", {}),
        ("swin_tiny_smoke", "80 wide", {"model.embed_dim": 80}),
        ("resnext50_32x4d_cbam", "101 layers", {"model.depths": (3, 4, 23, 3)}),
        ("resnext101_32x4d_cbam", "152 layers", {"model.depths": (3, 8, 36, 3)}),
        ("resnet18_cbam", "34 layers", {"model.depths": (3, 4, 6, 3)}),
        ("resnext_tiny_smoke_cbam", "1.5 x as wide", {"model.widen": 1.5}),
        ("regnet_y_4g", "1.5 x as wide", {"model.widths": (192, 320, 768, 1664)}),
        ("deit_s", "vit_b_16", {"model.width": 768, "model.depth": 12, "model.heads": 12}),
        ("vit_l_16", "", {}),
        ("bit_r101x3", "width x 4", {"model.widen": 4}),
    ],
)
def test_the_next_larger_network(name: str, called: str, settings: dict[str, object]) -> None:
    assert larger(named(name), "1k") == (called, settings)


def test_a_larger_swin_keeps_what_the_recipe_has_beside_its_prior() -> None:
    spec = named("swin_s").model_copy(update={"drop_path": 0.2})  # a tenth below Swin-S's
    assert larger(spec, "1k")[1]["model.drop_path"] == 0.4
    assert larger(named("swin_s").model_copy(update={"drop_path": 0.2}), "22k")[1]["model.drop_path"] == 0.2


@pytest.mark.parametrize(
    "name",
    [
        *("swin_t_1k_224", "swin_b_22k_224", "cbam_resnext50_1k_2018", "cbam_resnet34_1k_2018_paper"),
        *("cbam_resnext101_1k_modern", "smoke_swin_22k", "smoke_resnext_cbam_1k"),
    ],
)
def test_every_recipe_takes_each_of_its_changes(name: str) -> None:
    """All that is offered is a recipe, differs from it, and there is one of a kind."""
    base = recipe(name)
    offered = changes_of(base, TRAIN, "1k", larger_fits=True, clean=True)
    kinds = [one.kind for one in offered]
    assert len(kinds) == len(set(kinds))
    assert {
        "regularize_up",
        "lr_up",
        "lr_down",
        "longer",
        "half_data",
        "quarter_data",
        "clean_labels",
    } <= set(kinds)
    for one in offered:
        changed = change(base, {**one.settings, **(stretched(base, one.length) if one.length != 1 else {})})
        outside = one.kind in ("clean_labels",)
        assert (changed != base) != outside


def test_regularization_is_one_axis() -> None:
    swin = recipe("swin_t_1k_224")
    assert regularized(swin, 1) == {
        "model.drop_path": 0.3,
        "optimizer.weight_decay": pytest.approx(0.05 * math.sqrt(10), rel=1e-5),
    }, "mixing is at its strongest"
    down = regularized(swin, -1)
    assert down == {
        "model.drop_path": 0.1,
        "optimizer.weight_decay": pytest.approx(0.05 / math.sqrt(10), rel=1e-5),
        "regularization.cutmix": 0.0,
    }
    there_and_back = change(change(swin, down), regularized(change(swin, down), 1))
    assert there_and_back.regularization == swin.regularization
    assert there_and_back.model == swin.model


def test_without_any_regularization_there_is_none_to_take_away() -> None:
    bare = change(
        recipe("smoke_resnext_cbam_22k"),
        {"optimizer.weight_decay": 0.0, "regularization.label_smoothing": 0.0},
    )
    assert regularized(bare, -1) == {}
    kinds = {one.kind for one in changes_of(bare, TRAIN, "1k", larger_fits=True, clean=False)}
    assert "regularize_down" not in kinds


def test_a_fine_tune_has_no_weight_decay_to_move_and_no_larger_network() -> None:
    base = recipe("swin_b_1k_224_from_22k")
    offered = changes_of(base, TRAIN, "fine-tune", larger_fits=False, clean=False)
    assert "capacity_up" not in {one.kind for one in offered}
    assert all("optimizer.weight_decay" not in one.settings for one in offered)


def test_fewer_images_are_not_fewer_steps() -> None:
    half, quarter = fractions(TRAIN, 1.0)
    assert (half.data, half.length) == (pytest.approx(200 / 350), pytest.approx(350 / 200))
    assert (quarter.data, quarter.length) == (pytest.approx(100 / 350), pytest.approx(3.5))


def test_a_fraction_that_whole_shards_do_not_give_is_not_offered() -> None:
    alone = Split(shards=SHARDS[:1], class_counts=(50, 50))
    assert list(fractions(alone, 1.0)) == []
    two = Split(shards=SHARDS[:2], class_counts=(100, 100))
    assert [one.kind for one in fractions(two, 1.0)] == ["half_data"]


def test_a_longer_run_keeps_the_shape_of_its_schedule() -> None:
    base = recipe("resnext50_1k_2018")
    longer = change(base, stretched(base, 2))
    assert (longer.epochs, longer.schedule.step_epochs) == (2 * base.epochs, 2 * base.schedule.step_epochs)
    assert longer.evaluate_epochs == 2 * base.evaluate_epochs
