"""Libraries: whose names weights may have, and why a library has not a network. Known without torch.

raytrain      our own names: torchvision's, and our attention's
torchvision   Swin, ResNet, ResNeXt, RegNet, ViT
timm          Swin, ResNet, ResNeXt, with SE or plain
microsoft     Swin                          (microsoft/Swin-Transformer, under `model`)
cbam          ResNet + CBAM                 (Jongchan/attention-module, under `state_dict`, with `module.`)
"""

from typing import Literal, get_args

from raytrain.errors import UsageError
from raytrain.models.spec import RegNetSpec, ResNetSpec, Spec, SwinSpec, VitSpec

Layout = Literal["raytrain", "torchvision", "timm", "microsoft", "cbam"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
INSIDE: dict[Layout, str] = {"microsoft": "model", "cbam": "state_dict"}
"""Where a torch file of that layout keeps its state dict."""

WORDS: dict[Layout, str] = {
    "raytrain": "our own names",
    "torchvision": "torchvision's names",
    "timm": "timm's names",
    "microsoft": "Microsoft's names",
    "cbam": "the CBAM authors' names",
}


def check_layout(spec: Spec, layout: Layout) -> None:
    """Raise UsageError where that library has not this network."""
    reason = why_not(spec, layout)
    if reason is not None:
        raise UsageError(
            f"--layout {layout}: {reason}. --layout raytrain writes any network, under our names"
        )


def why_not(spec: Spec, layout: Layout) -> str | None:
    """Why that library has not this network, or another one under these names; None where it has it."""
    if layout == "raytrain":
        return None
    match spec:
        case SwinSpec():
            return "the CBAM authors have no Swin" if layout == "cbam" else None
        case ResNetSpec() if layout != "microsoft":
            return differs(spec, layout) or _resnet_missing(spec, layout)
        case RegNetSpec() if layout == "torchvision":
            return None
        case VitSpec() if layout == "torchvision":
            return None if spec.class_token else "torchvision's ViT has a class token"
    return f"of this family, {spec.family}, nothing is written in {WORDS[layout]}"


def differs(spec: Spec, layout: Layout) -> str | None:
    """Why a file of that layout loads into this network and is of another; None where it is of the same."""
    if not isinstance(spec, ResNetSpec) or layout == "raytrain":
        return None
    if spec.stride_in_1x1:
        return "there the stride is on the 3x3, here it is on the 1x1: under the same names it is another network"
    gates = (spec.attention, spec.channel_pools, spec.spatial_maps)
    if layout == "cbam" and gates != ("cbam", "avg_max", "max_avg"):
        return (
            "there a block weighs channels by both pools, then places by [max, avg]: model.attention=cbam, "
            "model.channel_pools=avg_max, model.spatial_maps=max_avg"
        )
    return None


def _resnet_missing(spec: ResNetSpec, layout: Layout) -> str | None:
    if (spec.widen, spec.stem_width, len(spec.depths)) != (1, 64, 4):
        return "there every ResNet has four stages behind a stem of 64, each twice as wide as the one before"
    if layout == "cbam":
        if spec.groups > 1 or spec.width_per_group != 64:
            return "the CBAM authors' code has no ResNeXt"
        same = (spec.reduction, spec.spatial_kernel, spec.mlp_bias, spec.spatial_norm) == (16, 7, True, True)
        return None if same else "there CBAM has reduction 16, a spatial kernel of 7, biases and a norm"
    if spec.attention == "se" and layout == "timm":
        narrow = spec.squeezed(spec.planes[0] * spec.expansion)
        return f"timm rounds the gate's width to eights, here it is {narrow}" if narrow % 8 else None
    return None if spec.attention == "none" else f"{layout} has no ResNet with {spec.attention}"
