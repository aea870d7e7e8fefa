"""Layouts: a state dict under the names of a library (libraries.py), and under ours.

All are read; one is written where that library has the very network.
"""

from collections.abc import Iterable

from torch import Tensor

from raytrain.models.spec import ResNetSpec, Spec, SwinSpec
from raytrain.weights import resnet_names, swin_names
from raytrain.weights.files import PARALLEL
from raytrain.weights.libraries import Layout, check_layout
from raytrain.weights.windows import INDEX


def layout_of(names: Iterable[str]) -> Layout:
    """Whose names these are; what nobody else has is torchvision's, as ours are."""
    names = frozenset(names)
    if any(".cbam.ChannelGate." in name for name in names):
        return "cbam"
    if "patch_embed.proj.weight" in names:
        return "microsoft" if "layers.0.downsample.reduction.weight" in names else "timm"
    if any(".se.fc1." in name for name in names):
        return "timm"
    return "raytrain" if any(".se.mlp." in name or ".cbam." in name for name in names) else "torchvision"


def to_ours(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], Layout]:
    """A state dict of any layout under our names, without buffers that follow from the sizes; and the layout."""
    layout = layout_of(state)
    buffers = (INDEX, swin_names.MASK)
    kept = {name: tensor for name, tensor in state.items() if not name.endswith(buffers)}
    match layout:
        case "cbam":
            return {resnet_names.from_cbam(name): tensor for name, tensor in kept.items()}, layout
        case "microsoft":
            return {swin_names.from_microsoft(name): tensor for name, tensor in kept.items()}, layout
        case "timm" if "patch_embed.proj.weight" in state:
            return {swin_names.from_timm(name): tensor for name, tensor in kept.items()}, layout
        case "timm":
            return dict(resnet_names.from_timm(name, tensor) for name, tensor in kept.items()), layout
    return kept, layout


def from_ours(state: dict[str, Tensor], layout: Layout, spec: Spec, image_size: int) -> dict[str, Tensor]:
    """Our state dict as that library has it, buffers too. Raises UsageError where it has not this network."""
    check_layout(spec, layout)
    learned = {name: tensor for name, tensor in state.items() if not name.endswith(INDEX)}
    match layout, spec:
        case "microsoft", SwinSpec():
            renamed = {swin_names.to_microsoft(name): tensor for name, tensor in learned.items()}
            return renamed | swin_names.microsoft_buffers(spec, image_size, state)
        case "timm", SwinSpec():
            return {swin_names.to_timm(name): tensor for name, tensor in learned.items()}
        case "timm", ResNetSpec():
            return dict(resnet_names.to_timm(name, tensor) for name, tensor in state.items())
        case "cbam", ResNetSpec():
            return {PARALLEL + resnet_names.to_cbam(name): tensor for name, tensor in state.items()}
    return state
