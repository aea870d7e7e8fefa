"""`--set path=value`: what is taken, and what is said where it is not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytrain.errors import UsageError
from raytrain.recipe import Recipe
from raytrain.recipes import names, recipe
from raytrain.settings import change, parse, paths

SWIN, RESNEXT = "smoke_swin_22k", "smoke_resnext_cbam_22k"
JARGON = ("pydantic", "further information", "Value error", "instance of", "Input ", "tuple", "type=", "ctx")


def refusal(setting: str, name: str = SWIN) -> str:
    with pytest.raises(UsageError) as refused:
        change(recipe(name), parse([setting]))
    return str(refused.value)


@pytest.mark.parametrize(
    ("setting", "path", "value"),
    [
        ("optimizer.lr=1e-3", "optimizer.lr", 0.001),
        ("epochs=3", "epochs", 3),
        ("precision=bf16", "precision", "bf16"),
        ('precision="bf16"', "precision", "bf16"),
        ("optimizer.clip_norm=null", "optimizer.clip_norm", None),
        ("optimizer.decay_all=true", "optimizer.decay_all", True),
        ("model.depths=[2, 2]", "model.depths", [2, 2]),
        ("name=a=b", "name", "a=b"),
        (" epochs =3", "epochs", 3),
        ("name=", "name", ""),
    ],
)
def test_values_are_json_or_text(setting: str, path: str, value: object) -> None:
    assert parse([setting]) == {path: value}


def test_without_an_equals_sign_an_example_is_given() -> None:
    with pytest.raises(
        UsageError, match=r"--set optimizer\.lr: write path=value, e\.g\. --set optimizer\.lr=1e-3"
    ):
        parse(["epochs=3", "optimizer.lr"])
    with pytest.raises(UsageError, match=r"--set =3: write path=value"):
        parse(["=3"])


def test_only_what_was_asked_for_changes() -> None:
    before = recipe(SWIN)
    after = change(before, parse(["optimizer.lr=0.5", "model.window=8", "view.image_size=64", "epochs=3"]))
    assert (after.optimizer.lr, after.model.window, after.view.image_size, after.epochs) == (0.5, 8, 64, 3)  # type: ignore[union-attr]
    back = {"optimizer.lr": before.optimizer.lr, "model.window": 4, "view.image_size": 32, "epochs": 8}
    assert change(after, back) == before
    assert recipe(SWIN) == before


@given(st.floats(min_value=0, exclude_min=True, allow_infinity=False))
def test_every_float_comes_back_to_the_last_bit(lr: float) -> None:
    changed = change(recipe(SWIN), parse([f"optimizer.lr={lr!r}"]))
    assert changed.optimizer.lr == lr
    assert Recipe.model_validate_json(changed.model_dump_json()).optimizer.lr == lr


@pytest.mark.parametrize("name", names())
def test_each_field_of_each_recipe_can_be_set_to_what_it_is(name: str) -> None:
    before = recipe(name)
    tree = before.model_dump(mode="json")
    settings = []
    for path in paths(tree):
        node = tree
        for part in path.split("."):
            node = node[part]
        settings.append(f"{path}={json.dumps(node)}")
    assert len(settings) >= 40
    assert change(before, parse(settings)) == before


@pytest.mark.parametrize(
    ("setting", "nearest"),
    [
        ("optimiser.lr=1", "optimizer.lr"),
        ("lr=1", "optimizer.lr"),
        ("batch=1", "global_batch"),
        ("globalbatch=1", "global_batch"),
        ("warmup_epochs=1", "schedule.warmup_epochs"),
        ("model.droppath=0", "model.drop_path"),
        ("cutmix=0", "regularization.cutmix"),
        ("optimizer=adamw", "optimizer.name"),
    ],
)
def test_an_unknown_path_names_the_nearest(setting: str, nearest: str) -> None:
    said = refusal(setting)
    assert said.startswith(f"recipe '{SWIN}' has no field '{setting.split('=')[0]}'; the nearest: ")
    assert nearest in said.split("nearest: ")[1].removesuffix(". All: raytrain recipes --json").split(", ")


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(UsageError) as refused:
        change(
            recipe(SWIN),
            parse(["lr=1", "epochs=0", "seed=1", "optimizer.betas=[0.9, 1, 2]", "precision=fp16"]),
        )
    assert str(refused.value).split("\n  ") == [
        "4 things are wrong",
        f"recipe '{SWIN}' has no field 'lr'; the nearest: optimizer.lr. All: raytrain recipes --json",
        "--set epochs=0: should be greater than 0",
        "--set optimizer.betas=[0.9, 1, 2]: should have 2 entries, not 3",
        "--set precision=\"fp16\": should be 'bf16' or 'fp32'",
    ]


REFUSED = [
    (SWIN, "optimizer.lr=fast", "should be a valid number"),
    (SWIN, "optimizer.lr=-1", "should be greater than 0"),
    (SWIN, "optimizer.lr=NaN", "should be a finite number"),
    (SWIN, "optimizer.lr=1e999", "should be a finite number"),
    (SWIN, "optimizer.lr=inf", "should be a finite number"),
    (SWIN, "epochs=Infinity", "should be a finite number"),
    (SWIN, "optimizer.layer_decay=0", "should be greater than 0"),
    (SWIN, "optimizer.layer_decay=1.1", "should be less than or equal to 1"),
    (SWIN, "optimizer.layer_buckets=1", "should be greater than or equal to 2"),
    (SWIN, "schedule.shape=exponential", "should be 'cosine', 'linear', 'step' or 'constant'"),
    (SWIN, "optimizer.betas=[0.9, 1]", "optimizer.betas.1: should be less than 1"),
    (SWIN, "optimizer.betas=[0.9]", "optimizer.betas.1: this one is missing"),
    (SWIN, "optimizer.betas=[0.9, 0.9, 0.9]", "should have 2 entries, not 3"),
    (SWIN, "optimizer.decay_all=perhaps", "should be a valid boolean"),
    (SWIN, "global_batch=1.5", "should be a valid integer, got a number with a fractional part"),
    (SWIN, "global_batch=0", "should be greater than 0"),
    (SWIN, "precision=fp16", "should be 'bf16' or 'fp32'"),
    (SWIN, "seed=-1", "should be greater than or equal to 0"),
    (SWIN, f"seed={2**63}", f"should be less than {2**63}"),
    (SWIN, "view.min_area=0", "should be greater than 0"),
    (SWIN, "published=81.5", "should be a valid dictionary"),
    (SWIN, "model.embed_dim=50", "embed_dim 50 is not a multiple of head_dim 16"),
    (SWIN, "model.depths=2", "should be a list, e.g. [2, 4]"),
    (SWIN, "model.depths=[]", "should have at least 1 entry"),
    (SWIN, "model.depths=[1]", "depths sum to 1; drop path grows over the blocks and needs at least 2"),
    (SWIN, "model.depths=[2, 0]", "model.depths.1: should be greater than 0"),
    (SWIN, "model.family=mlp", "should be 'swin', 'resnet', 'regnet', 'vit', 'bit'"),
    (SWIN, "model.family=resnet", "model.embed_dim: no such field there"),
    (RESNEXT, "model.depths=[]", "should have at least 1 entry"),
    (RESNEXT, "model.widen=Infinity", "should be a finite number"),
    (RESNEXT, "model.width_per_group=1", "width_per_group 1 leaves stage 1 (32 planes) no channels"),
    (RESNEXT, "model.block=basic", "groups and width_per_group belong to the bottleneck block"),
]


@pytest.mark.parametrize(("name", "setting", "needed"), REFUSED)
def test_a_wrong_value_names_its_field_and_what_it_takes(name: str, setting: str, needed: str) -> None:
    said = refusal(setting, name)
    path = setting.split("=")[0]
    assert said.startswith(f"--set {path}=")
    assert needed in said
    assert "\n" not in said
    assert len(said) < 160, "one line, without the rest of the recipe"
    assert not [word for word in JARGON if word in said]


def test_of_several_settings_the_wrong_one_is_named() -> None:
    with pytest.raises(UsageError) as refused:
        change(recipe(SWIN), parse(["epochs=3", "model.embed_dim=50", "optimizer.lr=1"]))
    assert str(refused.value) == "--set model.embed_dim=50: embed_dim 50 is not a multiple of head_dim 16"


def test_two_settings_that_only_together_are_wrong_are_both_named() -> None:
    with pytest.raises(
        UsageError, match=r"^--set model.embed_dim=64 --set model.head_dim=24: embed_dim 64 is not"
    ):
        change(recipe(SWIN), parse(["epochs=3", "model.embed_dim=64", "model.head_dim=24"]))
