"""Which parameters decay, by exact sets; and the classes handed to the engine."""

import pytest
import torch

from raytrain.models.build import build
from raytrain.models.spec import named_specs
from raytrain.optim import make_optimizer, parameter_groups
from raytrain.recipe import Optimizer


def grouped(name, optimizer):
    """The names in each group."""
    with torch.device("meta"):
        model = build(named_specs()[name], 1000, 224, None)
    names = {id(p): key for key, p in model.named_parameters()}
    return {
        group["name"]: {names[id(p)] for p in group["params"]} for group in parameter_groups(model, optimizer)
    }, set(names.values())


def swin_t_decayed():
    blocks = [(stage, block) for stage, depth in ((1, 2), (3, 2), (5, 6), (7, 2)) for block in range(depth)]
    weights = ("attn.qkv", "attn.proj", "mlp.0", "mlp.3")
    return (
        {f"features.{stage}.{block}.{w}.weight" for stage, block in blocks for w in weights}
        | {f"features.{merge}.reduction.weight" for merge in (2, 4, 6)}
        | {"features.0.0.weight", "head.weight"}
    )


def resnext50_cbam_decayed():
    blocks = [(stage + 1, block) for stage, depth in enumerate((3, 4, 6, 3)) for block in range(depth)]
    weights = ("conv1", "conv2", "conv3", "cbam.mlp.fc1", "cbam.mlp.fc2", "cbam.conv")
    return (
        {f"layer{stage}.{block}.{w}.weight" for stage, block in blocks for w in weights}
        | {f"layer{stage}.0.downsample.0.weight" for stage in (1, 2, 3, 4)}
        | {"conv1.weight", "fc.weight"}
    )


@pytest.mark.parametrize(
    ("name", "decayed"),
    [("swin_t", swin_t_decayed()), ("resnext50_32x4d_cbam", resnext50_cbam_decayed())],
)
def test_decay_spares_norms_biases_and_bias_tables(name, decayed):
    groups, everything = grouped(name, Optimizer())
    assert groups == {"decay": decayed, "no_decay": everything - decayed}


def test_decay_all_is_one_group():
    groups, everything = grouped("resnext50_32x4d_cbam", Optimizer(name="sgd", decay_all=True))
    assert groups == {"decay": everything}


def test_optimizers_are_plain_torch_with_the_recipes_numbers():
    model = build(named_specs()["swin_tiny_smoke"], 10, 32, 0)
    adamw = make_optimizer(model, Optimizer(weight_decay=0.1, betas=(0.8, 0.9), eps=1e-6), 3e-4)
    assert type(adamw) is torch.optim.AdamW
    assert [(g["name"], g["lr"], g["weight_decay"], g["betas"], g["eps"]) for g in adamw.param_groups] == [
        ("decay", 3e-4, 0.1, (0.8, 0.9), 1e-6),
        ("no_decay", 3e-4, 0.0, (0.8, 0.9), 1e-6),
    ]
    sgd = make_optimizer(model, Optimizer(name="sgd", momentum=0.8, weight_decay=1e-4, decay_all=True), 0.1)
    assert type(sgd) is torch.optim.SGD
    assert [(g["lr"], g["momentum"], g["weight_decay"]) for g in sgd.param_groups] == [(0.1, 0.8, 1e-4)]
