"""Every family of networks: it takes a step of training, drops paths linearly, and is the network it says."""

import pytest
import torch
import torchvision
from plans import tiny_recipe
from small import smalls
from torch import nn
from torchvision.models.regnet import BlockParams, RegNet
from torchvision.ops import StochasticDepth

from raytrain.engine import TorchEngine
from raytrain.errors import UsageError
from raytrain.models.bit import StandardConv2d
from raytrain.models.build import build
from raytrain.models.named import named, named_specs
from raytrain.models.spec import BitSpec, RegNetSpec, VitSpec
from raytrain.optim import make_optimizer
from raytrain.recipe import Optimizer
from raytrain.recipes.twins import small

CLASSES = 5
FAMILIES = ["swin_t", "resnet18", "resnet50_cbam", "regnet_y_4g", "deit_s", "deit_s_gap", "bit_r101x3"]


def test_the_list_holds_every_family_and_each_of_its_networks_once():
    families = [spec.family for spec in named_specs().values()]
    assert {family: families.count(family) for family in families} == {
        "swin": 1 + 6,
        "resnet": 3 + 3 * (4 + 2 * 4) + 7,
        "regnet": 3,
        "vit": 2 * 7,
        "bit": 2,
    }
    assert len(smalls()) == 43


@pytest.mark.parametrize("name", smalls())
def test_a_step_of_training_lowers_the_loss(name):
    spec, size = smalls()[name]
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(8, 3, size, size, generator=generator)
    targets = torch.eye(CLASSES)[torch.arange(8) % CLASSES]
    module = build(spec, CLASSES, size, seed=2)
    optimizer = Optimizer(lr=1e-3, weight_decay=0.05)
    engine = TorchEngine(
        module,
        make_optimizer(module, tiny_recipe(model=spec, optimizer=optimizer), optimizer.lr),
        device=torch.device("cpu"),
        accumulation=1,
        clip_norm=optimizer.clip_norm,
        bf16=False,
    )
    before = float(engine.forward_backward(images, targets))
    assert engine.step(optimizer.lr).applied
    assert float(engine.forward_backward(images, targets)) < before - 1e-3


@pytest.mark.parametrize("name", FAMILIES)
def test_drop_path_grows_linearly_to_the_last_block_and_drops_whole_branches(name):
    spec, size = small(named(name))
    spec = spec.model_copy(update={"drop_path": 0.4})
    model = build(spec, CLASSES, size, 3)
    drops = [module for module in model.modules() if isinstance(module, StochasticDepth)]
    blocks = sum(spec.depths) if spec.family != "vit" else spec.depth
    branches = 2 if spec.family == "vit" else 1  # a Swin's block drops both of its own by one module
    wanted = [0.4 * block / (blocks - 1) for block in range(blocks) for _ in range(branches)]
    assert [drop.p for drop in drops] == pytest.approx(wanted)
    assert {drop.mode for drop in drops} == {"row"}
    images = torch.randn(16, 3, size, size, generator=torch.Generator().manual_seed(1))
    nn.init.normal_(head(model).weight)
    torch.manual_seed(0)
    assert not torch.equal(model(images), model(images))


def head(model):
    return [module for module in model.modules() if isinstance(module, nn.Linear)][-1]


def shapes(model):
    return {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}


def test_vit_is_torchvisions_and_without_class_token_only_that_is_gone():
    with torch.device("meta"):
        theirs = shapes(torchvision.models.vit_b_16())
        assert shapes(build(named("vit_b_16"), 1000, 224, None)) == theirs
        del theirs["class_token"]
        theirs["encoder.pos_embedding"] = (1, 196, 768)
        assert shapes(build(named("vit_b_16_gap"), 1000, 224, None)) == theirs


def test_a_torchvision_vit_gives_torchvisions_logits():
    torch.manual_seed(0)
    theirs = torchvision.models.VisionTransformer(32, 16, 2, 2, 32, 128, num_classes=CLASSES).eval()
    nn.init.normal_(theirs.heads.head.weight)
    ours = build(VitSpec(width=32, depth=2, heads=2, drop_path=0.1), CLASSES, 32, seed=1).eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(ours(images), theirs(images))


def test_without_positions_the_mean_vit_does_not_see_the_order_of_patches():
    model = build(VitSpec(width=16, depth=2, heads=2, class_token=False), CLASSES, 32, seed=1).double().eval()
    nn.init.normal_(model.heads.head.weight)
    images = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    turned = images.roll((16, 16), (2, 3))  # four patches, each in another corner
    with torch.no_grad():
        assert not torch.allclose(model(images), model(turned))
        model.encoder.pos_embedding.zero_()
        torch.testing.assert_close(model(images), model(turned))


def test_a_torchvision_regnet_gives_torchvisions_logits():
    torch.manual_seed(0)
    shape = BlockParams([1, 2], [16, 32], [8, 8], [1.0, 1.0], [2, 2], se_ratio=0.25)
    theirs = RegNet(shape, CLASSES).eval()
    spec = RegNetSpec(depths=(1, 2), widths=(16, 32), group_width=8, drop_path=0.2)
    ours = build(spec, CLASSES, 32, seed=1).eval()
    assert list(shapes(ours)) == list(shapes(theirs))
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(ours(images), theirs(images))


def test_standardised_weights_have_no_scale_and_no_mean():
    conv = StandardConv2d(3, 4, 3, padding=1, bias=False).double()
    images = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    weight = conv.weight.detach()
    flat = weight.flatten(1)
    standard = ((flat - flat.mean(1, keepdim=True)) / flat.std(1, correction=0, keepdim=True)).reshape(
        weight.shape
    )
    with torch.no_grad():
        expected = nn.functional.conv2d(images, standard, padding=1)
        torch.testing.assert_close(conv(images), expected)
        conv.weight.mul_(3.0).add_(0.5)
        torch.testing.assert_close(conv(images), expected)


def test_bit_has_no_batch_statistics_and_strides_like_a_resnet():
    model = build(BitSpec(depths=(1, 1), stem_width=32), CLASSES, 64, seed=1)
    assert list(model.buffers()) == []
    assert [model.layers.layer2[0].conv2.stride, model.layers.layer2[0].downsample.stride] == [(2, 2), (2, 2)]
    images = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(images)[:1], model(images[:1]), rtol=1e-4, atol=1e-5)


def test_an_image_that_patches_do_not_tile_is_refused():
    with pytest.raises(UsageError, match=r"230 is not a multiple of patch 16.*image_size=224 or 240$"):
        build(named("vit_b_16"), 10, 230, 0)


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(UsageError, match=r"unknown model 'resnet50-cbam'; the nearest: resnet50_cbam, "):
        named("resnet50-cbam")
    with pytest.raises(UsageError, match=r"^unknown model '!'\. All: raytrain models$"):
        named("!")
