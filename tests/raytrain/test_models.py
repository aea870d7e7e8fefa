"""The built networks: torchvision's names, torchvision's numbers, reproducible weights."""

import pytest
import torch
import torchvision
from pydantic import ValidationError

from raytrain.errors import UsageError
from raytrain.models.build import build
from raytrain.models.named import named_specs
from raytrain.models.spec import RegNetSpec, ResNetSpec, SwinSpec

SMOKE = {name: spec for name, spec in named_specs().items() if "smoke" in name}
TORCHVISION = {
    "resnet18": torchvision.models.resnet18,
    "resnet50": torchvision.models.resnet50,
    "resnext50_32x4d": torchvision.models.resnext50_32x4d,
}


def smoke(name, seed=3, **changes):
    return build(SMOKE[name].model_copy(update=changes), 10, 32, seed)


def shapes(model):
    return {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}


@pytest.mark.parametrize("name", TORCHVISION)
def test_resnets_have_torchvisions_keys_and_attention_adds_only_its_own(name):
    with torch.device("meta"):
        theirs = shapes(TORCHVISION[name]())
        assert list(shapes(build(named_specs()[name], 1000, 224, None))) == list(theirs)
        for attention in ("se", "cbam"):
            ours = shapes(build(named_specs()[f"{name}_{attention}"], 1000, 224, None))
            assert {key: shape for key, shape in ours.items() if f".{attention}." not in key} == theirs


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d"])
def test_a_torchvision_checkpoint_gives_torchvisions_logits(name):
    torch.manual_seed(0)
    theirs = TORCHVISION[name](num_classes=7).eval()
    ours = build(named_specs()[name], 7, 64, seed=1).eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-5)


def test_swin_is_torchvisions_swin():
    spec = named_specs()["swin_t"].model_copy(update={"depths": (2, 2, 2, 2), "embed_dim": 32})
    theirs = torchvision.models.SwinTransformer(
        [4, 4], 32, [2, 2, 2, 2], [1, 2, 4, 8], [7, 7], num_classes=5
    ).eval()
    ours = build(spec, 5, 224, seed=1).eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(ours(images), theirs(images))
    with torch.device("meta"):
        assert shapes(build(named_specs()["swin_t"], 1000, 224, None)) == shapes(torchvision.models.swin_t())


@pytest.mark.parametrize("name", SMOKE)
def test_weights_are_a_function_of_the_seed_and_the_generator_is_left_alone(name):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, again, other = smoke(name), smoke(name), smoke(name, seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    same = [torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters(), strict=True)]
    assert all(same)
    weights = zip(one.named_parameters(), other.parameters(), strict=True)
    assert [name for (name, a), b in weights if a.ndim > 1 and torch.equal(a, b)] == []
    drawn = build(SMOKE[name], 10, 32, None)
    assert not torch.equal(next(drawn.parameters()), next(one.parameters()))


@pytest.mark.parametrize("name", SMOKE)
def test_every_parameter_but_cbams_convolution_learns_from_the_first_step(name):
    model, images = smoke(name, drop_path=0.0), torch.randn(4, 3, 32, 32)
    torch.nn.functional.cross_entropy(model(images), torch.arange(4)).backward()
    still = {key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert {key for key in still if not key.endswith("cbam.conv.weight")} == set()
    assert len(still) == (3 if name.endswith("cbam") else 0)


def test_the_stride_sits_where_the_spec_says():
    strides = {}
    for first in (False, True):
        spec = ResNetSpec(depths=(1, 1), stride_in_1x1=first)
        block = build(spec, 2, 64, 0).layer2[0]
        strides[first] = (block.conv1.stride[0], block.conv2.stride[0], block.downsample[0].stride[0])
    assert strides == {False: (1, 2, 2), True: (2, 1, 2)}


def test_widening_leaves_the_stem():
    wide = build(named_specs()["wide_resnet18_1_5"], 2, 224, 0)
    assert (wide.conv1.out_channels, wide.layer1[0].conv1.out_channels, wide.fc.in_features) == (64, 96, 768)


def test_a_size_that_windows_do_not_tile_is_refused_before_anything_is_built():
    with pytest.raises(UsageError, match="image size 256"):
        build(SwinSpec(), 10, 256, 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SwinSpec(embed_dim=100), "embed_dim 100 is not a multiple of head_dim 32"),
        (lambda: SwinSpec(depths=(1,)), "at least 2"),
        (lambda: ResNetSpec(block="basic", groups=32), "use block='bottleneck'"),
        (lambda: ResNetSpec(stem_width=8, width_per_group=4), "width_per_group 4 leaves stage 1"),
        (
            lambda: RegNetSpec(depths=(1,), widths=(32,), group_width=32, se_ratio=0.01),
            "se_ratio 0.01 leaves the first gate",
        ),
    ],
)
def test_impossible_specs_are_refused(make, message):
    with pytest.raises(ValidationError, match=message):
        make()
