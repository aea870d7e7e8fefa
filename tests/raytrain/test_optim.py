"""Which parameters decay, by exact sets; and the classes handed to the engine."""

import pytest
import torch
from plans import tiny_recipe

from raytrain.engine import TorchEngine
from raytrain.groups import parameter_groups
from raytrain.models.build import build
from raytrain.models.named import named_specs
from raytrain.optim import make_optimizer, planned_shapes, set_lr
from raytrain.recipe import Optimizer


def grouped(name, optimizer):
    """The names in each group."""
    shapes = planned_shapes(named_specs()[name], 1000, 224)
    groups = parameter_groups(shapes, named_specs()[name], optimizer)
    return {group.name: set(group.parameters) for group in groups}, set(shapes)


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

    def made(lr, **optimizer):
        return make_optimizer(
            model, tiny_recipe(model=named_specs()["swin_tiny_smoke"], optimizer=optimizer), lr
        )

    adamw = made(3e-4, weight_decay=0.1, betas=(0.8, 0.9), eps=1e-6)
    assert type(adamw) is torch.optim.AdamW
    assert [(g["name"], g["lr"], g["weight_decay"], g["betas"], g["eps"]) for g in adamw.param_groups] == [
        ("decay", 3e-4, 0.1, (0.8, 0.9), 1e-6),
        ("no_decay", 3e-4, 0.0, (0.8, 0.9), 1e-6),
    ]
    sgd = made(0.1, name="sgd", momentum=0.8, weight_decay=1e-4, decay_all=True)
    assert type(sgd) is torch.optim.SGD
    assert [(g["lr"], g["momentum"], g["weight_decay"]) for g in sgd.param_groups] == [(0.1, 0.8, 1e-4)]


def test_a_group_keeps_its_share_of_every_learning_rate():
    spec = named_specs()["swin_tiny_smoke"]
    recipe = tiny_recipe(model=spec, optimizer={"layer_decay": 0.25, "layer_buckets": 2})
    adamw = make_optimizer(build(spec, 10, 32, 0), recipe, 1.0)
    share = 0.25**4  # layers 0 to 6 of 8: exponents 7 to 1
    assert [group["lr"] for group in adamw.param_groups] == [share, share, 1, 1]
    set_lr(adamw, 0.5)
    assert [group["lr"] for group in adamw.param_groups] == [share / 2, share / 2, 0.5, 0.5]


GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=GPU)])
@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_a_loaded_optimizer_makes_the_same_next_step(device: str, name: str) -> None:
    """Fused kernels want every tensor of their state where the weights are, AdamW's count of steps too."""
    recipe = tiny_recipe(optimizer=Optimizer(name=name))
    size, classes = recipe.view.image_size, 8
    images, targets = torch.randn(2, 3, size, size, device=device), torch.eye(classes, device=device)[:2]

    def engine() -> TorchEngine:
        module = build(recipe.model, classes, size, seed=0).to(device)
        optimizer = make_optimizer(module, recipe, 1e-3)
        return TorchEngine(
            module, optimizer, device=torch.device(device), accumulation=1, clip_norm=None, bf16=False
        )

    def step(one: TorchEngine) -> None:
        torch.manual_seed(0)
        one.forward_backward(images, targets)
        assert one.step(1e-3).applied

    first, second = engine(), engine()
    step(first)
    second.load(first.save())
    step(first)
    step(second)
    weights, again = first.module.state_dict(), second.module.state_dict()
    assert all(torch.equal(weights[key], again[key]) for key in weights)
