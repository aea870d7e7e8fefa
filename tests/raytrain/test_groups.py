"""Layer decay: against Microsoft's rule layer by layer, its buckets, whom it is refused; what the groups cost ZeRO."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import tiny_recipe

from cluster.fleet import presets
from raytrain.errors import UsageError
from raytrain.groups import layer_buckets, layer_count, layer_of, parameter_groups, zero_padding
from raytrain.models.named import named_specs
from raytrain.optim import planned_shapes
from raytrain.plan import resolve
from raytrain.recipe import Optimizer
from raytrain.recipes.assumed import assumed_data

SWIN_T = named_specs()["swin_t"]
SHAPES = planned_shapes(SWIN_T, 1000, 224)


def microsofts_layer(key):
    """microsoft/Swin-Transformer optimizer.py get_swin_layer by hand for Swin-T (2, 2, 6, 2), its own key names."""
    if key.startswith("patch_embed"):
        return 0
    if key.startswith("layers"):
        _, stage, part, *rest = key.split(".")
        first = (0, 2, 4, 10)[int(stage)]
        return first + (2, 2, 6, 2)[int(stage)] if part == "downsample" else first + int(rest[0]) + 1
    return 13


def microsofts_name(key):
    first, *rest = key.split(".")
    if first != "features":
        return key
    part = int(rest[0])
    if part == 0:
        return "patch_embed." + ".".join(rest[1:])
    where = f"layers.{(part - 1) // 2}"
    return f"{where}.blocks.{'.'.join(rest[1:])}" if part % 2 else f"{where}.downsample.{rest[1]}"


@pytest.mark.parametrize(
    ("ours", "theirs", "layer"),
    [
        ("features.0.2.bias", "patch_embed.2.bias", 0),
        ("features.1.0.norm1.weight", "layers.0.blocks.0.norm1.weight", 1),
        ("features.2.reduction.weight", "layers.0.downsample.reduction", 2),
        ("features.5.5.attn.qkv.bias", "layers.2.blocks.5.attn.qkv.bias", 10),
        ("features.6.norm.weight", "layers.2.downsample.norm", 10),
        ("features.7.1.mlp.3.weight", "layers.3.blocks.1.mlp.3.weight", 12),
        ("norm.weight", "norm.weight", 13),
        ("head.weight", "head.weight", 13),
    ],
)
def test_layers_by_hand(ours, theirs, layer):
    assert microsofts_name(ours) == theirs
    assert microsofts_layer(theirs) == layer
    assert layer_of(ours, SWIN_T) == layer


def test_every_parameter_is_in_microsofts_layer():
    assert layer_count(SWIN_T) == 14
    assert {key: layer_of(key, SWIN_T) for key in SHAPES} == {
        key: microsofts_layer(microsofts_name(key)) for key in SHAPES
    }


def test_as_many_buckets_as_layers_is_the_published_rule():
    """The scale is layer_decay ** (num_layers - i - 1), num_layers = sum(depths) + 2: 28 groups, 52 in a Swin-B."""
    groups = parameter_groups(SHAPES, SWIN_T, Optimizer(layer_decay=0.8, layer_buckets=14))
    scales = {name: group.lr_scale for group in groups for name in group.parameters}
    assert scales == {key: pytest.approx(0.8 ** (13 - layer_of(key, SWIN_T))) for key in SHAPES}
    assert len(groups) == 28
    deep = named_specs()["swin_b"]
    every = Optimizer(layer_decay=0.8, layer_buckets=99)
    assert len(parameter_groups(planned_shapes(deep, 1000, 224), deep, every)) == 52


def test_a_bucket_takes_the_mean_of_its_layers_exponents():
    groups = parameter_groups(SHAPES, SWIN_T, Optimizer(weight_decay=0.05, layer_decay=0.5, layer_buckets=4))
    assert [(group.name, group.lr_scale, group.weight_decay) for group in groups] == [
        ("layers 0-3 decay", 0.5**11.5, 0.05),  # exponents 13 to 10
        ("layers 0-3 no_decay", 0.5**11.5, 0.0),
        ("layers 4-7 decay", 0.5**7.5, 0.05),
        ("layers 4-7 no_decay", 0.5**7.5, 0.0),
        ("layers 8-12 decay", 0.5**3, 0.05),
        ("layers 8-12 no_decay", 0.5**3, 0.0),
        ("layer 13 decay", 1, 0.05),
        ("layer 13 no_decay", 1, 0.0),
    ]
    assert sorted(name for group in groups for name in group.parameters) == sorted(SHAPES)
    assert groups[-2].parameters == ("head.weight",)


@given(st.integers(2, 200), st.integers(2, 60))
def test_buckets_are_all_layers_in_order_near_equal_and_the_last_alone(layers, buckets):
    runs = layer_buckets(layers, buckets)
    assert [layer for run in runs for layer in run] == list(range(layers))
    assert len(runs) == min(layers, buckets)
    assert len(runs[-1]) == 1
    lengths = {len(run) for run in runs[:-1]}
    assert max(lengths) - min(lengths) <= 1


def test_a_network_without_an_order_is_refused_when_planning():
    wanted = tiny_recipe(optimizer={"layer_decay": 0.8})
    with pytest.raises(UsageError) as refused:
        resolve(wanted, presets()["local"], assumed_data("synthetic-1k"))
    assert str(refused.value) == (
        "optimizer.layer_decay needs layers in depth order: swin and vit have them, a resnet here has not. "
        "Use --set optimizer.layer_decay=1"
    )


@given(st.lists(st.integers(1, 10**9), min_size=1), st.integers(1, 1000))
def test_padding_makes_every_group_divide(numbers, workers):
    """Into 2 x workers, by less than that for each."""
    assert zero_padding(numbers, workers) <= len(numbers) * (2 * workers - 1)
    assert zero_padding([count - count % (2 * workers) for count in numbers], workers) == 0
    assert (numbers[0] + zero_padding(numbers[:1], workers)) % (2 * workers) == 0
