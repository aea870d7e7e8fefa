"""The torch-free counts against torch itself on the meta device, and against the papers' printed rows."""

import subprocess
import sys
from decimal import ROUND_DOWN, Decimal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from raytrain.errors import UsageError
from raytrain.models.arithmetic import activation_bytes, forward_macs, parameters, stage_sides
from raytrain.models.build import build
from raytrain.models.cards import SWIN_B_384_NOTE, SWIN_T_NOTE, cards
from raytrain.models.named import named_specs
from raytrain.models.spec import ResNetSpec, SwinSpec

SIZES = {"smoke": 96, "_384": 384, "bit_r152x4": 480}
NAMED = {
    name: (spec, next((size for part, size in SIZES.items() if part in name), 224))
    for name, spec in named_specs().items()
}
SMOKE = [name for name in NAMED if "smoke" in name]


def on_meta(spec, classes, size, batch=1):
    with torch.device("meta"):
        return build(spec, classes, size, seed=None), torch.empty(batch, 3, size, size)


def counted(spec, classes, size):
    """(parameters, multiply-adds) as torch counts them."""
    model, images = on_meta(spec, classes, size)
    model.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images)
    return sum(p.numel() for p in model.parameters()), counter.get_total_flops() / 2


def saved_bytes(spec, size):
    """Bytes per image that autograd keeps from forward to backward in fp32, each storage once."""
    model, images = on_meta(spec, 10, size, batch=2)
    own = {t.untyped_storage()._cdata for t in (*model.parameters(), *model.buffers())}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = tensor  # held, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(images)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) / 2


@pytest.mark.parametrize("name", NAMED)
def test_named_networks_are_counted_as_torch_counts_them(name):
    spec, size = NAMED[name]
    assert (parameters(spec, 1000, size), forward_macs(spec, 1000, size)) == counted(spec, 1000, size)


@pytest.mark.parametrize(
    "name", ["swin_t", "swin_b_384", "resnet18_cbam", "resnet50", "resnet50_se", "resnet50_cbam", *SMOKE]
)
def test_activation_estimate_is_what_autograd_keeps_in_fp32(name):
    spec, size = NAMED[name]
    assert activation_bytes(spec, size, 4) == pytest.approx(saved_bytes(spec, size), rel=0.015)


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
        attention=draw(st.sampled_from(["none", "se", "cbam"])),
        reduction=draw(st.sampled_from([2, 4, 16])),
        spatial_kernel=draw(st.sampled_from([3, 7])),
    )
    return spec, draw(st.integers(17, 70))


@settings(max_examples=25, deadline=None)
@given(st.one_of(swins(), resnets()), st.integers(1, 30))
def test_any_network_is_counted_as_torch_counts_it(case, classes):
    spec, size = case
    assert (parameters(spec, classes, size), forward_macs(spec, classes, size)) == counted(
        spec, classes, size
    )


@pytest.mark.parametrize("card", cards().values(), ids=cards().keys())
def test_every_row_agrees_with_the_paper_as_printed(card):
    params = Decimal(parameters(card.spec, card.classes, card.image_size)) / 10**6
    gflops = Decimal(forward_macs(card.spec, card.classes, card.image_size)) / 10**9
    wanted = Decimal(28) if card.note == SWIN_T_NOTE else card.published_params_m
    assert params.quantize(wanted) == wanted
    rounding = ROUND_DOWN if card.note == SWIN_B_384_NOTE else None
    assert gflops.quantize(card.published_gflops, rounding=rounding) == card.published_gflops


def test_there_are_five_swin_and_24_cbam_rows_and_two_known_disagreements():
    papers = [card.paper.split()[0] for card in cards().values()]
    assert (papers.count("Swin"), papers.count("CBAM")) == (5, 24)
    assert [c.name for c in cards().values() if c.note == SWIN_T_NOTE] == ["swin_t_224"]
    assert [c.name for c in cards().values() if c.note == SWIN_B_384_NOTE] == ["swin_b_384"]


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
