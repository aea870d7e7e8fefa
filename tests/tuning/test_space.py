"""The space syntax: what it takes, what it refuses, and that each refusal names the remedy."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.errors import UsageError
from raytrain.recipes import recipe
from raytrain.settings import change
from tuning.dimension import Choice, Range
from tuning.spaces.read import default_space, parse_space

SMOKE = recipe("smoke_swin_22k")


def dimensions(space):
    return {param.name: param.dimension for param in space.params}


def test_every_form_is_read():
    texts = ["optimizer.lr=log:1e-4:1e-2", "model.drop_path=0:0.3", "optimizer.name=choice:adamw,sgd"]
    assert dimensions(parse_space([*texts, "seed=0:9"], SMOKE)) == {
        "optimizer.lr": Range(low=1e-4, high=1e-2, log=True),
        "model.drop_path": Range(low=0.0, high=0.3),
        "optimizer.name": Choice(values=("adamw", "sgd")),
        "seed": Range(low=0, high=9, integer=True),
    }


@settings(deadline=None)
@given(
    st.floats(1e-9, 0.4, allow_subnormal=False),
    st.floats(0.5, 0.99),
    st.booleans(),
)
def test_a_range_reads_back_what_it_writes(low, high, log):
    dimension = Range(low=low, high=high, log=log)
    held = parse_space([f"model.drop_path={dimension.form}"], SMOKE)
    assert dimensions(held) == {"model.drop_path": dimension}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimizer.lrr=0:1", "has no field 'optimizer.lrr'; the nearest: optimizer.lr"),
        ("optimizer=0:1", "has no field 'optimizer'; the nearest"),
        ("optimizer.lr", "write path=log:LOW:HIGH"),
        ("optimizer.lr=1e-3", "'1e-3' is no range"),
        ("optimizer.lr=1:2:3", "'1:2:3' is no range"),
        ("optimizer.lr=1e-2:1e-4", "low end 0.01 must be a number below the high end 0.0001"),
        ("optimizer.lr=nan:1", "low end nan"),
        ("optimizer.lr=0.1:inf", "high end inf"),
        ("optimizer.weight_decay=log:0:1", "a log range starts above 0"),
        ("model.drop_path=0:1.5", "model.drop_path=1.5: should be less than"),
        ("optimizer.name=choice:adamw,adam", "should be 'adamw' or 'sgd'"),
        ("optimizer.name=choice:adamw", "at least two different values"),
        ("seed=0.5:3", "whole numbers"),
    ],
)
def test_a_wrong_space_names_the_remedy(text, message):
    with pytest.raises(UsageError) as refused:
        parse_space([text], SMOKE)
    assert message in str(refused.value)


def test_a_path_has_one_range():
    with pytest.raises(UsageError, match="give each path once"):
        parse_space(["optimizer.lr=0.1:0.2", "optimizer.lr=0.1:0.3"], SMOKE)


@pytest.mark.parametrize(
    "name", ["smoke_swin_22k", "swin_b_1k_224", "swin_b_1k_224_from_22k", "cbam_resnext50_1k_2018"]
)
def test_the_default_space_holds_the_recipe(name):
    chosen = recipe(name)
    assert default_space(chosen).own_point == {
        "optimizer.weight_decay": chosen.optimizer.weight_decay,
        "model.drop_path": chosen.model.drop_path,
    }


def test_a_recipe_outside_of_the_space_is_no_point_of_it():
    recipe_outside = change(SMOKE, {"optimizer.lr": 1.0})
    assert parse_space(["optimizer.lr=0.1:0.2"], recipe_outside).own_point == {}
