"""The torch-free counts against torch itself on the meta device. The papers' rows: test_tables."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from raytrain.errors import UsageError
from raytrain.models.arithmetic import activation_bytes, forward_macs, parameters, stage_sides
from raytrain.models.build import build
from raytrain.models.named import named_specs, native_size
from raytrain.models.spec import BitSpec, RegNetSpec, ResNetSpec, SwinSpec, VitSpec

NAMED = {name: (spec, 96 if "smoke" in name else native_size(name)) for name, spec in named_specs().items()}
SMOKE = [name for name in NAMED if "smoke" in name]


def counted(spec, classes, size, device="meta"):
    """(parameters, multiply-adds) as torch counts them."""
    with torch.device(device):
        model, images = build(spec, classes, size, seed=None).eval(), torch.zeros(1, 3, size, size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images)
    return sum(p.numel() for p in model.parameters()), counter.get_total_flops() / 2


def saved_bytes(spec, size, device="meta"):
    """Bytes per image that autograd keeps from forward to backward in fp32: what two more images add."""
    with torch.device(device):
        model = build(spec, 10, size, seed=None)
        two, four = (kept_bytes(model, torch.zeros(batch, 3, size, size)) for batch in (2, 4))
    return (four - two) / 2


def kept_bytes(model, images):
    """Each storage once, but for parameters and buffers."""
    own = {t.untyped_storage()._cdata for t in (*model.parameters(), *model.buffers())}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = tensor  # held, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(images)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMED)
def test_named_networks_are_counted_as_torch_counts_them(name):
    spec, size = NAMED[name]
    assert (parameters(spec, 1000, size), forward_macs(spec, 1000, size)) == counted(spec, 1000, size)


KEPT = [
    "swin_t",
    "swin_b_384",
    "resnet18_cbam",
    "resnet50",
    "resnet50_se",
    "resnet50_cbam",
    "resnet50_v1_parallel",
]


@pytest.mark.parametrize("name", [*KEPT, "regnet_y_4g", "bit_r101x3", *SMOKE])
def test_activation_estimate_is_what_autograd_keeps_in_fp32(name):
    spec, size = NAMED[name]
    kept = saved_bytes(
        spec, size, "cpu" if name in SMOKE else "meta"
    )  # small ones are computed faster than followed
    assert activation_bytes(spec, size, 4) == pytest.approx(kept, rel=0.015)


@pytest.mark.parametrize("class_token", [False, True])
def test_a_vit_keeps_no_scores(class_token):
    """On the CPU, since attention on the meta device is not the fused one and would keep them."""
    spec = VitSpec(width=192, depth=4, heads=3, class_token=class_token)
    estimate, kept = activation_bytes(spec, 224, 4), saved_bytes(spec, 224, "cpu")
    assert estimate == pytest.approx(kept, rel=0.03)


def test_half_precision_keeps_norms_and_softmax_in_fp32():
    for spec in (SwinSpec(), ResNetSpec()):
        whole, half = activation_bytes(spec, 224, 4), activation_bytes(spec, 224, 2)
        assert whole / 2 < half < whole
    assert activation_bytes(SwinSpec(), 224, 2) / 2**20 == pytest.approx(66.8, abs=0.1)


@st.composite
def swins(draw):
    stages = draw(st.integers(1, 3))
    spec = SwinSpec(
        embed_dim=8 * draw(st.integers(1, 3)),
        head_dim=draw(st.sampled_from([4, 8])),
        depths=tuple(draw(st.integers(2 if stages == 1 else 1, 3)) for _ in range(stages)),
        patch=draw(st.sampled_from([1, 2, 4])),
        window=draw(st.integers(2, 5)),
        mlp_ratio=draw(st.sampled_from([1.5, 2.0, 4.0])),
    )
    return spec, spec.stride * spec.window * draw(st.integers(1, 2))


ATTENTIONS = ["none", "se", "channel", "spatial", "cbam", "spatial_channel", "parallel"]


@st.composite
def resnets(draw):
    basic = draw(st.booleans())
    spec = ResNetSpec(
        block="basic" if basic else "bottleneck",
        depths=tuple(draw(st.lists(st.integers(1, 2), min_size=1, max_size=4))),
        stem_width=draw(st.sampled_from([8, 16, 24])),
        widen=draw(st.sampled_from([1.0, 1.5, 2.0])),
        groups=1 if basic else draw(st.sampled_from([1, 2, 8])),
        width_per_group=64 if basic else draw(st.sampled_from([8, 16])),
        stride_in_1x1=draw(st.booleans()),
        attention=draw(st.sampled_from(ATTENTIONS)),
        mlp_bias=draw(st.booleans()),
        channel_pools=draw(st.sampled_from(["avg", "max", "avg_max"])),
        spatial_maps=draw(st.sampled_from(["max_avg", "avg_max", "conv"])),
        spatial_norm=draw(st.booleans()),
        reduction=draw(st.sampled_from([2, 4, 16])),
        spatial_kernel=draw(st.sampled_from([3, 7])),
    )
    return spec, draw(st.integers(17, 70))


@st.composite
def regnets(draw):
    depths = tuple(draw(st.lists(st.integers(1, 2), min_size=1, max_size=3)))
    widths = tuple(8 * draw(st.integers(1, 4)) for _ in depths)
    ratio = draw(st.sampled_from([0.1, 0.25, 0.5]))
    return RegNetSpec(depths=depths, widths=widths, group_width=8, stem_width=16, se_ratio=ratio), draw(
        st.integers(17, 70)
    )


@st.composite
def vits(draw):
    heads, patch = draw(st.integers(1, 3)), draw(st.sampled_from([4, 8]))
    spec = VitSpec(
        width=8 * heads,
        heads=heads,
        patch=patch,
        depth=draw(st.integers(1, 3)),
        mlp_ratio=draw(st.sampled_from([2.0, 2.7, 4.0])),
        class_token=draw(st.booleans()),
    )
    return spec, patch * draw(st.integers(1, 5))


@st.composite
def bits(draw):
    depths = tuple(draw(st.lists(st.integers(1, 2), min_size=1, max_size=3)))
    return BitSpec(depths=depths, widen=draw(st.integers(1, 2)), stem_width=16, norm_groups=8), draw(
        st.integers(17, 70)
    )


@settings(max_examples=60, deadline=None)
@given(st.one_of(swins(), resnets(), regnets(), vits(), bits()), st.integers(1, 30))
def test_any_network_is_counted_as_torch_counts_it(case, classes):
    """Small ones are computed, which is faster, but for a ViT's: fused attention on the CPU is not counted."""
    spec, size = case
    device = "meta" if isinstance(spec, VitSpec) else "cpu"
    assert (parameters(spec, classes, size), forward_macs(spec, classes, size)) == counted(
        spec, classes, size, device
    )


def trained_flops(spec, size):
    """What torch's counter says of forward and backward, each."""
    with torch.device("meta"):
        model, images = build(spec, 10, size, seed=None), torch.empty(2, 3, size, size)
    with FlopCounterMode(display=False) as forward:
        answer = model(images)
    with FlopCounterMode(display=False) as backward:
        answer.sum().backward()
    return forward.get_total_flops(), backward.get_total_flops()


def test_training_costs_three_forward_passes_as_torch_counts_them():
    """But for the gradient of the picture, which nobody needs: 1.5 % of a Swin-T."""
    forward, backward = trained_flops(SwinSpec(), 224)
    assert 1.97 < backward / forward < 2


def test_why_the_counter_is_not_asked_for_a_backward_pass():
    """It counts the weights' gradient of a grouped convolution as if there were no groups: one layer by hand."""
    groups, width, side = 32, 128, 8
    with torch.device("meta"):
        layer = torch.nn.Conv2d(width, width, 3, padding=1, groups=groups, bias=False)
        images = torch.empty(1, width, side, side, requires_grad=True)
    with FlopCounterMode(display=False) as forward:
        answer = layer(images)
    with FlopCounterMode(display=False) as backward:
        answer.sum().backward()
    true = 2 * 9 * width * width // groups * side**2  # of the forward pass, and of each of the two gradients
    assert forward.get_total_flops() == true
    assert backward.get_total_flops() == true + groups * true
    counted = sum(trained_flops(named_specs()["resnext50_32x4d"], 64))
    assert counted / (3 * 2 * 2 * forward_macs(named_specs()["resnext50_32x4d"], 10, 64)) > 1.4


def test_windows_tile_every_stage_or_the_size_is_refused():
    assert stage_sides(SwinSpec(), 224) == (56, 28, 14, 7)
    assert stage_sides(SwinSpec(window=12), 384) == (96, 48, 24, 12)
    assert stage_sides(named_specs()["swin_tiny_smoke"], 32) == (8, 4)
    with pytest.raises(UsageError, match=r"image_size=224 or 448, or --set model\.window=8$"):
        stage_sides(SwinSpec(), 256)
    with pytest.raises(UsageError, match=r"image_size=384, or --set model\.window=6$"):
        stage_sides(SwinSpec(window=12), 192)  # the last stage has 6 tokens, less than a window
    with pytest.raises(UsageError, match=r"= 224\. The nearest: --set view\.image_size=224 or 448$"):
        forward_macs(SwinSpec(), 10, 225)


def test_light_modules_load_no_torch():
    code = (
        "import sys, raytrain.models.cards, raytrain.models.arithmetic, raytrain.schedule\n"
        "print([name for name in ('torch', 'torchvision', 'numpy') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
