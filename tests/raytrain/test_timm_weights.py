"""timm's networks load what is exported, in its layout and in Microsoft's, and say the same to the last bit.

timm is no dependency. With it:
`$(python benchmarks/environments.py timm) -m pytest tests/raytrain/test_timm_weights.py`

Microsoft's layout goes through timm's own reader of Microsoft's files. Bit for bit with timm's fused attention off.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from raytrain.models.build import build
from raytrain.models.named import named_specs
from raytrain.models.spec import SwinSpec
from raytrain.weights.layouts import from_ours, to_ours
from raytrain.weights.libraries import Layout

timm = pytest.importorskip("timm", reason="timm is not installed: this file's first lines say how")


@pytest.fixture(autouse=True)
def unfused() -> Iterator[None]:
    timm.layers.set_fused_attn(False)
    yield
    timm.layers.set_fused_attn(True)


def theirs(spec: SwinSpec, image_size: int) -> nn.Module:
    from timm.models.swin_transformer import SwinTransformer

    model: nn.Module = SwinTransformer(
        img_size=image_size,
        patch_size=spec.patch,
        num_classes=7,
        embed_dim=spec.embed_dim,
        depths=spec.depths,
        num_heads=[width // spec.head_dim for width in spec.widths],
        window_size=spec.window,
    )
    return model


def shaken(model: nn.Module) -> nn.Module:
    """With other weights than a start has: biases and tables start at nearly nothing."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def agree(one: nn.Module, other: nn.Module, image_size: int) -> bool:
    images = torch.randn(1, 3, image_size, image_size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return torch.equal(one(images), other(images))


SHALLOW = named_specs()["swin_t"].model_copy(update={"depths": (2, 2, 2, 2), "window": 12})


@pytest.mark.parametrize(
    ("spec", "image_size"),
    [(named_specs()["swin_t"], 224), (named_specs()["swin_b"], 224), (SHALLOW, 384)],
    ids=["swin_t", "swin_b", "384 with window 12"],
)
@pytest.mark.parametrize("layout", ["timm", "microsoft"])
def test_a_swin_says_the_same_in_timm_and_comes_back(spec: SwinSpec, image_size: int, layout: Layout) -> None:
    from timm.models.swin_transformer import checkpoint_filter_fn

    ours, other = shaken(build(spec, 7, image_size, seed=1)), theirs(spec, image_size).eval()
    state = from_ours(ours.state_dict(), layout, spec, image_size)
    other.load_state_dict(checkpoint_filter_fn({"model": state}, other) if layout == "microsoft" else state)
    assert agree(ours, other, image_size)
    back, told = to_ours(other.state_dict())
    fresh = build(spec, 7, image_size, seed=2).eval()
    fresh.load_state_dict(fresh.state_dict() | back)
    assert told == "timm"
    assert agree(fresh, other, image_size)


@pytest.mark.parametrize("name", ["resnext50_32x4d", "resnet50_se"])
def test_a_resnet_loads_into_timms(name: str) -> None:
    spec = named_specs()[name]
    ours = shaken(build(spec, 7, 64, seed=1)).double()  # a gate is a product there, a convolution in timm
    other = timm.create_model({"resnet50_se": "seresnet50"}.get(name, name), num_classes=7).double().eval()
    other.load_state_dict(from_ours(ours.state_dict(), "timm", spec, 64))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)).double()
    with torch.inference_mode():
        torch.testing.assert_close(other(images), ours(images), rtol=1e-10, atol=0)
    assert same_names_and_values(to_ours(other.state_dict())[0], ours.state_dict())


def same_names_and_values(one: dict[str, Tensor], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
