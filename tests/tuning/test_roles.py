"""Roles: every hyper-parameter has one, nothing has two, and each refusal names the field and the remedy."""

from pathlib import Path

import pytest

from raytrain.errors import UsageError
from raytrain.recipe import Recipe
from raytrain.recipes import recipe
from raytrain.settings import change
from tuning.dimension import Choice, Ladder, Offset, Range
from tuning.space import Param, Space, declare, hyper_parameters
from tuning.spaces import names
from tuning.spaces.common import FIXED
from tuning.spaces.read import read_space
from tuning.spaces.show import show_fixed

SWIN = recipe("swin_b_1k_224")
FILE = """
scientific:
  capacity:
    rungs:
      small: {model.embed_dim: 96, model.depths: [2, 2, 6, 2]}
      base: {model.embed_dim: 128, model.depths: [2, 2, 18, 2]}
    source: Liu et al. 2021
  optimizer.name: choice:adamw,sgd
nuisance:
  model.drop_path: {prior: {small: 0.2, base: 0.5}, by: capacity, notch: 0.1, notches: [-1, 2]}
  optimizer.lr: log:1e-4:1e-2
  schedule.end: 0:0.3
  optimizer.momentum: {range: "0.8:0.99", when: {optimizer.name: [sgd]}}
fixed: [model.*, view.*, optimizer.*, schedule.*, regularization.*, distillation.*, epochs, global_batch, progressive,
  seed, precision, ema_decay]
"""


def searched(path, low=0.0, high=0.5, **more):
    return Param(name=path, paths=(path,), role="scientific", dimension=Range(low=low, high=high), **more)


def file(tmp_path, text):
    (tmp_path / "mine.yaml").write_text(text)
    return str(tmp_path / "mine.yaml")


def test_a_file_declares_all_kinds_of_parameters(tmp_path):
    space = read_space(file(tmp_path, FILE), SWIN)
    assert {param.name: (param.role, type(param.dimension)) for param in space.params} == {
        "capacity": ("scientific", Ladder),
        "optimizer.name": ("scientific", Choice),
        "model.drop_path": ("nuisance", Offset),
        "optimizer.lr": ("nuisance", Range),
        "schedule.end": ("nuisance", Range),
        "optimizer.momentum": ("nuisance", Range),
    }
    assert space.params[4].dimension == Range(low=0.0, high=0.3)  # YAML takes 0:0.3 for a number in base 60
    point = {"capacity": "small", "optimizer.name": "sgd", "model.drop_path": -1, "optimizer.momentum": 0.85}
    assert space.settings(point) == {
        "model.embed_dim": 96,
        "model.depths": (2, 2, 6, 2),
        "optimizer.name": "sgd",
        "model.drop_path": 0.1,
        "optimizer.momentum": 0.85,
    }
    changed = change(SWIN, space.settings(point))
    assert (changed.model.depths, changed.model.drop_path) == ((2, 2, 6, 2), 0.1)
    assert Space.model_validate_json(space.model_dump_json()) == space


def test_an_offset_goes_by_the_rung_that_was_drawn(tmp_path):
    space = read_space(file(tmp_path, FILE), SWIN)
    drop = {
        rung: space.settings({"capacity": rung, "model.drop_path": 2})["model.drop_path"]
        for rung in ("small", "base")
    }
    assert drop == {"small": 0.4, "base": 0.7}
    assert space.own_point["model.drop_path"] == 0
    assert "optimizer.momentum" not in space.own_point  # of SGD, and the recipe has AdamW


def test_a_condition_on_the_family_leaves_a_parameter_away():
    both = [
        searched("model.drop_path"),
        Param(
            name="model.reduction",
            paths=("model.reduction",),
            role="scientific",
            dimension=Choice(values=(8, 16)),
            when={"model.family": ("resnet",)},
        ),
    ]
    assert [param.name for param in declare("x", both, FIXED, SWIN).params] == ["model.drop_path"]
    cbam = recipe("cbam_resnext50_1k_2018")
    assert [param.name for param in declare("x", both, FIXED, cbam).params] == [
        "model.drop_path",
        "model.reduction",
    ]


def test_a_field_may_be_set_by_two_parameters_that_never_meet():
    lr = {
        name: Param(
            name=f"lr of {name}",
            paths=("optimizer.lr",),
            role="nuisance",
            dimension=Range(low=low, high=10 * low),
            when={"optimizer.name": (name,)},
        )
        for name, low in (("adamw", 1e-4), ("sgd", 1e-2))
    }
    name = Param(
        name="optimizer.name",
        paths=("optimizer.name",),
        role="scientific",
        dimension=Choice(values=("adamw", "sgd")),
    )
    space = declare("x", [name, *lr.values()], FIXED, SWIN)
    assert [param.name for param in space.params if space.active(param, {"optimizer.name": "sgd"})] == [
        "optimizer.name",
        "lr of sgd",
    ]


@pytest.mark.parametrize(
    ("params", "fixed", "message"),
    [
        (
            [searched("model.drop_paht")],
            FIXED,
            "has no field 'model.drop_paht'; the nearest: model.drop_path",
        ),
        ([searched("evaluate_epochs")], FIXED, "evaluate_epochs is no hyper-parameter"),
        ([searched("model.drop_path")], FIXED[1:], "nothing is said of epochs: every hyper-parameter"),
        ([searched("model.drop_path")], (*FIXED, "optimizer.lrr"), "has no field 'optimizer.lrr'"),
        ([searched("model.drop_path")], (*FIXED, "augment.*"), "fixed augment.* names no field"),
        ([searched("model.drop_path")], (*FIXED, "model.drop_path"), "model.drop_path is fixed and searched"),
        ([searched("model.drop_path")] * 2, FIXED, "model.drop_path is declared twice"),
        (
            [searched("model.drop_path"), searched("model.drop_path").model_copy(update={"name": "other"})],
            FIXED,
            "model.drop_path is set by model.drop_path and by other; a field has one role",
        ),
        ([searched("model.drop_path", high=1.5)], FIXED, "model.drop_path=1.5: should be less than 1"),
        (
            [
                Param(
                    name="drop",
                    paths=("model.drop_path",),
                    role="nuisance",
                    dimension=Offset(prior={"swin_b": 0.5}, by="capacity", notch=0.1, low=-1, high=1),
                )
            ],
            FIXED,
            "drop takes its prior by capacity, which has to be declared before it, with the values swin_b",
        ),
        ([searched("model.drop_path", when={"model.family": ("vit",)})], FIXED, "nothing is searched"),
    ],
)
def test_a_wrong_declaration_names_the_field(params, fixed, message):
    with pytest.raises(UsageError) as refused:
        declare("x", params, fixed, SWIN)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scientific: {model.drop_path: 0:0.3}", "nothing is said of model.embed_dim"),
        ("scientific: {model.drop_path: 0.3}\nfixed: ['*']", "model.drop_path: '0.3' is no range"),
        (
            "scientific: {model.drop_path: {}}\nfixed: ['*']",
            "model.drop_path has no values: give one of range",
        ),
        (
            "scientific: {model.drop_path: {rnage: 0:1}}\nfixed: ['*']",
            "scientific.model.drop_path.rnage: no such field there",
        ),
        ("nuisance: {}\nfixed: ['*']", "scientific: this one is missing"),
        (
            "scientific: {model.drop_path: 0:0.3}\nnuisnace: {optimizer.lr: 0:1}",
            "nuisnace is no role; there are scientific, nuisance, fixed",
        ),
        ("scientific: [", "this is no YAML"),
        (
            "scientific: {x: {rungs: {a: {model.window: 7}, b: {model.patch: 4}}}}\nfixed: ['*']",
            "rungs a and b do not set the same paths: model.patch, model.window",
        ),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(tmp_path, text, message):
    with pytest.raises(UsageError) as refused:
        read_space(file(tmp_path, text), SWIN)
    assert str(refused.value).startswith(f"--space {tmp_path / 'mine.yaml'}: ")
    assert message in str(refused.value)
    assert "validation error" not in str(refused.value)


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(UsageError, match=r"--space no\.yaml: there is no such file"):
        read_space("no.yaml", SWIN)


def test_a_space_in_words_names_every_role():
    """Two studies are compared by these lines."""
    held = declare("x", [searched("model.drop_path"), searched("optimizer.lr", low=0.1)], FIXED, SWIN)
    lines = held.lines()
    assert lines["model.drop_path"] == "scientific, 0.0:0.5"
    assert lines["optimizer.lr"] == "scientific, 0.1:0.5"
    assert lines["optimizer.betas"] == "fixed, [0.9, 0.999]"
    assert len(lines) == len(hyper_parameters(SWIN)) - 1  # all but the family


def test_what_stays_fixed_is_printed_with_its_values():
    text = " ".join(" ".join(show_fixed(declare("x", [searched("model.drop_path")], FIXED, SWIN))).split())
    assert "nuisance: tuned beside it" in text
    assert "nothing is learned of these" in text
    assert "schedule: shape cosine, warmup_epochs 20.0" in text
    assert "drop_path" not in text
    assert "lies outside" not in text
    outside = declare("x", [searched("optimizer.lr", low=0.1)], FIXED, SWIN)
    assert "the recipe itself lies outside of the space: it is tried first" in " ".join(show_fixed(outside))


def test_every_field_of_a_recipe_is_a_hyper_parameter_or_known_to_be_none():
    """A new field of Recipe is one until NO_HYPER_PARAMETERS names it: ready spaces then refuse, and say so."""
    held = {path.partition(".")[0] for path in hyper_parameters(SWIN)}
    assert set(Recipe.model_fields) - held == {
        *(
            "name",
            "summary",
            "source",
            "published",
            "made_for",
            "train_split",
            "train_fraction",
            "train_slice",
        ),
        *("eval_split", "evaluate_epochs", "checkpoint_epochs", "execution"),
    }


def test_the_documented_file_is_a_space_and_every_ready_one_is_listed(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "spaces.md").read_text()
    example = page.split("```yaml\n")[1].split("```")[0]
    assert len(read_space(file(tmp_path, example), SWIN).params) == 6
    assert [name for name in names() if f"| `{name}` |" not in page] == []
