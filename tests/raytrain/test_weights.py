"""Names of other libraries and back, files of theirs, and files that are none."""

import argparse
import io
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from raytrain.errors import RunError, UsageError
from raytrain.models.build import build
from raytrain.models.named import named_specs
from raytrain.models.spec import ResNetSpec, SwinSpec
from raytrain.weights.files import read_tensors, write_tensors
from raytrain.weights.layouts import from_ours, layout_of, to_ours
from raytrain.weights.libraries import INSIDE, Layout, why_not
from raytrain.weights.likeness import likeness
from raytrain.weights.swin_names import shift_mask
from raytrain.weights.windows import INDEX

SMALL_CBAM = ResNetSpec(block="basic", depths=(1, 1, 1, 1), attention="cbam")
TINY = "resnext_tiny_smoke_cbam"

swins = st.builds(
    SwinSpec,
    embed_dim=st.sampled_from([8, 16]),
    depths=st.lists(st.integers(1, 3), min_size=2, max_size=4).map(tuple),
    head_dim=st.just(8),
    window=st.integers(2, 4),
)


def state_of(spec: Any, image_size: int = 32, seed: int = 0) -> dict[str, Tensor]:
    return build(spec, 5, image_size, seed).state_dict()


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(tensor, other[name]) for name, tensor in one.items()
    )


@given(spec=swins, windows=st.integers(1, 2), layout=st.sampled_from(["torchvision", "microsoft", "timm"]))
@settings(max_examples=15, deadline=None)
def test_a_swin_of_any_size_comes_back_from_every_layout(
    spec: SwinSpec, windows: int, layout: Layout
) -> None:
    image_size = spec.stride * spec.window * windows
    own = state_of(spec, image_size)
    theirs = from_ours(own, layout, spec, image_size)
    back, told = to_ours(theirs)
    assert told == layout
    assert same(back, {name: tensor for name, tensor in own.items() if not name.endswith(INDEX)})


@pytest.mark.parametrize(
    ("spec", "layout"),
    [
        (SMALL_CBAM, "cbam"),
        (SMALL_CBAM, "raytrain"),
        (ResNetSpec(block="basic", depths=(1, 1, 1, 1), reduction=8, attention="se"), "timm"),
        (ResNetSpec(depths=(1, 1, 1, 1), groups=4, width_per_group=8), "torchvision"),
        (ResNetSpec(depths=(1, 1), stem_width=16, widen=1.5, stride_in_1x1=True, attention="se"), "raytrain"),
    ],
)
@pytest.mark.parametrize("suffix", ["pth", "pth.tar", "safetensors"])
def test_a_resnet_comes_back_through_a_file(spec: ResNetSpec, layout: Layout, suffix: str) -> None:
    own = state_of(spec)
    raw = write_tensors(from_ours(own, layout, spec, 32), f"w.{suffix}", INSIDE.get(layout), {})
    back, told = to_ours(read_tensors(raw, f"w.{suffix}"))
    assert told == layout
    assert same(back, own)


def test_microsofts_names() -> None:
    spec = SwinSpec(embed_dim=16, depths=(2, 1, 2), head_dim=8, window=2)
    theirs = from_ours(state_of(spec, 64), "microsoft", spec, 64)
    assert [name for name in theirs if ".blocks.1." in name and "layers.0." in name] == [
        "layers.0.blocks.1.norm1.weight",
        "layers.0.blocks.1.norm1.bias",
        "layers.0.blocks.1.attn.relative_position_bias_table",
        "layers.0.blocks.1.attn.qkv.weight",
        "layers.0.blocks.1.attn.qkv.bias",
        "layers.0.blocks.1.attn.proj.weight",
        "layers.0.blocks.1.attn.proj.bias",
        "layers.0.blocks.1.norm2.weight",
        "layers.0.blocks.1.norm2.bias",
        "layers.0.blocks.1.mlp.fc1.weight",
        "layers.0.blocks.1.mlp.fc1.bias",
        "layers.0.blocks.1.mlp.fc2.weight",
        "layers.0.blocks.1.mlp.fc2.bias",
        "layers.0.blocks.1.attn.relative_position_index",
        "layers.0.blocks.1.attn_mask",
    ]
    assert "patch_embed.proj.weight" in theirs
    assert {name.split(".")[1] for name in theirs if "downsample" in name} == {"0", "1"}
    assert theirs["layers.2.blocks.1.attn.relative_position_index"].shape == (4, 4)
    assert theirs["layers.2.blocks.1.attn_mask"].shape == (4, 4, 4)  # 4 x 4 tokens: 4 windows


def test_a_stage_of_one_window_is_not_shifted_and_has_no_mask() -> None:
    spec = SwinSpec(embed_dim=16, depths=(2, 2), head_dim=8, window=4)
    theirs = from_ours(state_of(spec, 32), "microsoft", spec, 32)
    assert [name for name in theirs if "mask" in name] == ["layers.0.blocks.1.attn_mask"]


def test_timms_names() -> None:
    spec = SwinSpec(embed_dim=16, depths=(1, 1, 1), head_dim=8, window=2)
    theirs = from_ours(state_of(spec), "timm", spec, 32)
    assert {name.split(".")[1] for name in theirs if "downsample" in name} == {"1", "2"}
    assert "head.fc.bias" in theirs
    assert not [name for name in theirs if name.endswith((INDEX, "mask"))]


def test_the_mask_parts_what_the_shift_brought_together() -> None:
    mask = shift_mask(4, 2)  # a shift by 1: the last window's four tokens are of four corners
    assert mask.shape == (4, 4, 4)
    assert (mask[0] == 0).all()
    assert torch.equal(mask[3] == 0, torch.eye(4, dtype=torch.bool))
    assert mask[1].tolist() == [[0, -100, 0, -100], [-100, 0, -100, 0]] * 2


def test_the_cbam_authors_names() -> None:
    theirs = from_ours(state_of(SMALL_CBAM), "cbam", SMALL_CBAM, 32)
    gate = "module.layer1.0.cbam."
    assert {name.removeprefix(gate) for name in theirs if name.startswith(gate)} == {
        *(f"ChannelGate.mlp.{layer}.{kind}" for layer in (1, 3) for kind in ("weight", "bias")),
        "SpatialGate.spatial.conv.weight",
        *(
            f"SpatialGate.spatial.bn.{name}"
            for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        ),
    }
    assert all(name.startswith("module.") for name in theirs)


def test_torchvisions_own_networks_load_ours_and_say_the_same() -> None:
    """And torchvision's files load here: their names are ours."""
    spec = ResNetSpec(depths=(1, 1, 1, 1), groups=4, width_per_group=8)
    own = build(spec, 5, 32, seed=1).eval()
    kind = torchvision.models.resnet
    theirs = kind.ResNet(kind.Bottleneck, [1, 1, 1, 1], num_classes=5, groups=4, width_per_group=8).eval()
    theirs.load_state_dict(from_ours(own.state_dict(), "torchvision", spec, 32))
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(theirs(images), own(images))
    with torch.device("meta"):  # and Swin is torchvision's own class
        whole = torchvision.models.swin_t(num_classes=5).state_dict()
        ours = state_of(named_specs()["swin_t"], 224)
    assert from_ours(ours, "torchvision", named_specs()["swin_t"], 224).keys() == whole.keys()
    assert layout_of(whole) == "torchvision"


@pytest.mark.parametrize(
    ("name", "changes", "layout", "reason"),
    [
        ("swin_t", {}, "cbam", "the CBAM authors have no Swin"),
        ("resnet50", {}, "microsoft", "of this family, resnet, nothing is written in Microsoft's names"),
        ("resnet50", {"stride_in_1x1": True}, "torchvision", "there the stride is on the 3x3"),
        ("wide_resnet18_1_5", {}, "timm", "four stages behind a stem of 64"),
        ("resnet50_cbam", {}, "torchvision", "torchvision has no ResNet with cbam"),
        ("resnet50_se", {}, "torchvision", "torchvision has no ResNet with se"),
        ("resnet18_se", {}, "timm", "timm rounds the gate's width to eights, here it is 4"),
        ("resnext50_32x4d_cbam", {}, "cbam", "the CBAM authors' code has no ResNeXt"),
        ("resnet50_cbam", {"spatial_kernel": 3}, "cbam", "a spatial kernel of 7"),
        ("resnet50_cbam", {"attention": "parallel"}, "cbam", "weighs channels by both pools, then places"),
        ("resnet50_cbam", {"spatial_maps": "avg_max"}, "cbam", "weighs channels by both pools, then places"),
        ("vit_b_16_gap", {}, "torchvision", "torchvision's ViT has a class token"),
        ("bit_r101x3", {}, "timm", "of this family, bit, nothing is written in timm's names"),
    ],
)
def test_a_library_without_the_network_is_named_with_the_reason(
    name: str, changes: dict[str, Any], layout: Layout, reason: str
) -> None:
    spec = named_specs()[name].model_copy(update=changes)
    with pytest.raises(UsageError, match=f"--layout {layout}: .*{reason}.*--layout raytrain writes any"):
        from_ours({}, layout, spec, 224)
    assert why_not(spec, "raytrain") is None


def torch_bytes(content: Any, *, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"model": s, "epoch": 3}, lambda s: {"state_dict": s}]
)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_torch_file_is_read_however_it_is_wrapped(zipped: bool, wrap: Any, prefix: str) -> None:
    own = state_of(named_specs()[TINY])
    halves = {prefix + name: tensor.half() if name == "fc.bias" else tensor for name, tensor in own.items()}
    found = read_tensors(torch_bytes(wrap(halves), zipped=zipped), "w.pth")
    assert found["fc.bias"].dtype == torch.float32
    assert same(found, own | {"fc.bias": own["fc.bias"].half().float()})


class Trap:
    """Makes the file at `mark` when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_is_unpickled(zipped: bool, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    with pytest.raises(
        RunError, match=r"w\.pth asks for posix\.mkdir, which is no tensor: it was not loaded"
    ):
        read_tensors(torch_bytes({"model": Trap(mark)}, zipped=zipped), "w.pth")
    with pytest.raises(RunError, match=r"asks for print, which is no tensor"):
        read_tensors(torch_bytes({"model": print}, zipped=zipped), "w.pth")
    with pytest.raises(RunError, match=r"asks for argparse\.Namespace, which is no"):
        read_tensors(torch_bytes({"model": {}, "args": argparse.Namespace(lr=1)}, zipped=zipped), "w.pth")
    with pytest.raises(RunError, match="no file that torch"):
        read_tensors(pickle.dumps(Trap(mark)), "w.pth")
    with pytest.raises(RunError, match="no safetensors file"):
        read_tensors(pickle.dumps(Trap(mark)), "w.safetensors")
    assert not mark.exists()


@given(share=st.floats(0, 1, exclude_max=True), kind=st.sampled_from(["zip", "legacy", "safetensors"]))
@settings(max_examples=100, deadline=None)
def test_a_file_cut_anywhere_is_refused(share: float, kind: str) -> None:
    state = {"conv.weight": torch.arange(64.0), "conv.bias": torch.zeros(3)}
    name = "w.safetensors" if kind == "safetensors" else "w.pth"
    raw = safetensors.torch.save(state) if kind == "safetensors" else torch_bytes(state, zipped=kind == "zip")
    in_a_name = r"asks for (torch|collections)[\w.]*, which is no tensor"  # what a pickle asks for, cut too
    with pytest.raises(RunError, match=rf"{name} (is cut short, damaged, or no |{in_a_name})"):
        read_tensors(raw[: int(len(raw) * share)], name)
    assert same(read_tensors(raw, name), state)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ([torch.zeros(1)], "holds no state dict: a dict of tensors, alone or under model or state_dict"),
        ({"model": {}}, "holds no state dict"),
        ({0: torch.zeros(1)}, "1 of its 1 entries are no tensors by name, '0' among them"),
        ({"net": {"a": torch.zeros(1)}}, "1 of its 1 entries are no tensors by name, 'net' among them"),
        ({"a": torch.zeros(1), "lr": 0.1}, "1 of its 2 entries are no tensors by name, 'lr' among them"),
    ],
)
def test_a_torch_file_without_a_state_dict(content: Any, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        read_tensors(torch_bytes(content), "w.pth")


@pytest.mark.parametrize("raw", [b"hello\n", b""])
def test_bytes_of_which_torch_has_nothing_to_say(raw: bytes) -> None:
    with pytest.raises(RunError, match=r"^w\.pth is cut short, damaged, or no file that torch\.save wrote$"):
        read_tensors(raw, "w.pth")


def test_likeness_tells_the_network_and_its_window() -> None:
    with torch.device("meta"):
        wide = state_of(named_specs()["swin_t"].model_copy(update={"window": 12}), 384)
        gated, plain = (state_of(named_specs()[name]) for name in ("resnet18_cbam", "resnet18"))
        odd = state_of(SwinSpec(embed_dim=64, depths=(1, 1), window=2))
    assert likeness(wide) == "swin_t with window 12"
    assert likeness(gated) == "resnet18_cbam"
    assert likeness({name: tensor for name, tensor in plain.items() if "tracked" not in name}) == "resnet18"
    assert likeness(odd) is None
    assert likeness({}) is None
