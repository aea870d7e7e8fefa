"""Ready spaces: each holds the recipes it is made for, around published numbers, and every point of it is a recipe."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.fleet import load_fleet
from data_shards.mix import Data
from raytrain.errors import UsageError
from raytrain.models.arithmetic import parameters
from raytrain.models.named import named
from raytrain.plan import resolve
from raytrain.recipes import names as recipe_names
from raytrain.recipes import recipe
from raytrain.recipes.assumed import assumed_data
from raytrain.settings import change
from tuning.search.sampler import propose
from tuning.spaces import asked_space, names, space, summary
from tuning.spaces.prior import SWIN_DROP_PATH, augreg_levels, regime, swin_size
from tuning.spaces.show import list_spaces

PUBLISHED = [
    ("swin_t_1k_224", "1k", 0.2, 0.05),
    ("swin_s_1k_224", "1k", 0.3, 0.05),
    ("swin_b_1k_224", "1k", 0.5, 0.05),
    ("swin_b_22k_224", "22k", 0.2, 0.05),
    ("swin_l_22k_224", "22k", 0.2, 0.05),
    ("swin_b_1k_224_from_22k", "fine-tune", 0.2, 1e-8),
    ("swin_l_1k_384_from_22k", "fine-tune", 0.2, 1e-8),
]


@pytest.mark.parametrize(("name", "kind", "drop_path", "weight_decay"), PUBLISHED)
def test_the_prior_is_what_was_published_and_the_recipe_has(name, kind, drop_path, weight_decay):
    chosen = recipe(name)
    for ready in ("swin_regularization", "swin_capacity"):
        held = space(ready, chosen, kind)
        point = held.own_point
        assert (point["model.drop_path"], point["optimizer.weight_decay"]) == (0, 0)
        found = held.settings(point)
        assert (found["model.drop_path"], found["optimizer.weight_decay"]) == (drop_path, weight_decay)
        assert change(chosen, found) == chosen


def test_a_notch_is_a_tenth_of_drop_path_and_root_ten_of_weight_decay():
    held = space("swin_capacity", recipe("swin_b_1k_224"), "1k")
    up = held.settings({"capacity": "swin_t", "model.drop_path": 1, "optimizer.weight_decay": 1})
    assert up["model.drop_path"] == 0.3
    assert up["optimizer.weight_decay"] == pytest.approx(0.158, abs=1e-3)
    assert up["model.depths"] == (2, 2, 6, 2)


def test_the_amount_of_data_says_whose_figures_hold():
    assert [
        regime(count, fine_tune=False) for count in (1_600, 1_281_167, 4_000_000, 4_500_000, 14_197_122)
    ] == [*("1k", "1k", "1k", "22k", "22k")]
    assert regime(14_197_122, fine_tune=True) == "fine-tune"


@pytest.mark.parametrize("size", ["t", "s", "b"])
def test_each_swin_is_recognized_by_its_parameters(size):
    assert swin_size(recipe(f"swin_{size}_1k_224")) == f"swin_{size}"
    assert swin_size(recipe("swin_l_22k_224")) == "swin_l"
    assert set(SWIN_DROP_PATH["1k"]) == set(SWIN_DROP_PATH["22k"])


def test_more_data_wants_less_augmentation_and_more_capacity_more():
    levels = {
        (name, kind): list(augreg_levels(recipe(name), kind))[-1]
        for name in ("smoke_resnext_cbam_22k", "cbam_resnext50_1k_2018", "swin_l_22k_224")
        for kind in ("1k", "22k")
    }
    assert levels == {  # one above AugReg's own
        ("smoke_resnext_cbam_22k", "1k"): "light2",
        ("smoke_resnext_cbam_22k", "22k"): "light1",
        ("cbam_resnext50_1k_2018", "1k"): "strong2",
        ("cbam_resnext50_1k_2018", "22k"): "light2",
        ("swin_l_22k_224", "1k"): "strong2",
        ("swin_l_22k_224", "22k"): "strong2",
    }


def test_cardinalities_have_about_as_many_parameters():
    held = space("cbam_capacity", recipe("resnext50_1k_2018"), "1k")
    counts = {
        rung: parameters(
            change(recipe("resnext50_1k_2018"), held.settings({"cardinality": rung})).model, 1000, 224
        )
        for rung in ("1x64d", "2x40d", "4x24d", "8x14d", "32x4d")
    }
    assert counts["1x64d"] == parameters(named("resnet50"), 1000, 224)
    assert max(counts.values()) / min(counts.values()) < 1.03  # the paper prints 25 to 25.5 M


def ready():
    for name in recipe_names():
        chosen = recipe(name)
        for of in names(chosen.model.family):
            if not of.endswith("smoke") or name.startswith("smoke"):
                yield name, of


PAIRS = sorted(ready())


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(PAIRS), st.sampled_from(["1k", "22k", "fine-tune"]), st.integers(0, 10**6))
def test_every_point_of_every_ready_space_is_a_recipe(pair, kind, seed):
    name, of = pair
    held = space(of, recipe(name), kind)
    for number in (0, 1, 2):
        point = propose(held, strategy="random", study_seed=seed, number=number, told=[])
        change(recipe(name), held.settings(point))


def test_a_space_for_another_family_names_those_that_fit():
    with pytest.raises(
        UsageError,
        match=r"is for swin networks and recipe .* is a resnet; for that: cbam_",
    ):
        space("swin_capacity", recipe("cbam_resnet50_1k_2018"), "1k")
    with pytest.raises(UsageError, match="unknown space 'swin_capcity'; the nearest: swin_capacity"):
        space("swin_capcity", recipe("swin_b_1k_224"), "1k")
    with pytest.raises(UsageError, match=r"unknown space 'xyz'\. All: raytrain tune --list-spaces"):
        space("xyz", recipe("swin_b_1k_224"), "1k")


def plan_of(name):
    chosen = recipe(name)
    data: Data = assumed_data(chosen.made_for)
    return resolve(chosen, load_fleet("h200x8", None), data)


def test_what_is_asked_for_is_a_name_a_file_or_ranges(tmp_path):
    plan = plan_of("swin_b_22k_224")
    assert asked_space(["swin_capacity"], plan).own_point["model.drop_path"] == 0  # 22K's prior: 0.2
    assert asked_space([], plan).name == "default"
    assert [param.role for param in asked_space(["seed=0:9"], plan).params] == ["scientific"]
    (tmp_path / "s.yaml").write_text("scientific: {model.drop_path: 0:0.3}\nfixed: ['*']")
    assert asked_space([str(tmp_path / "s.yaml")], plan).name == "s"
    with pytest.raises(UsageError, match=r"give one name, or one \.yaml file, or PATH=RANGE alone"):
        asked_space(["swin_capacity", "seed=0:9"], plan)


def test_the_list_of_ready_spaces(golden):
    assert all(summary(name) for name in names())
    golden("spaces.txt", list_spaces() + "\n")
