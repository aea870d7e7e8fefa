"""Swin's tensors as torchvision, Microsoft and timm name them. Ours are torchvision's.

    torchvision                          Microsoft                        timm
    features.0.{0,2}                     patch_embed.{proj,norm}          the same
    features.{1,3,5,7}.J                 layers.{0,1,2,3}.blocks.J        the same
    ... mlp.{0,3}                        ... mlp.{fc1,fc2}                the same
    features.{2,4,6}, merging patches    layers.{0,1,2}.downsample        layers.{1,2,3}.downsample
    norm, head                           the same                         norm, head.fc

The tensors' values and shapes are the same in all three (tests/raytrain/test_timm_weights.py), but for buffers that are
computed from the sizes: the position index is flat in torchvision's files, a table in Microsoft's, beside `attn_mask`,
and in timm's there is neither. So no buffer is ever read: each network makes its own.

Sources: models/swin_transformer.py of torchvision 0.29.1, of microsoft/Swin-Transformer at f82860b, of timm 1.0.31.
"""

import re

import torch
from torch import Tensor

from raytrain.models.arithmetic import stage_sides
from raytrain.models.spec import SwinSpec
from raytrain.weights.windows import INDEX

MASK = "attn_mask"
STEM = {"0": "proj", "2": "norm"}
MLP = {"mlp.0": "mlp.fc1", "mlp.3": "mlp.fc2"}


def to_microsoft(name: str) -> str:
    """Microsoft's name of a tensor of ours."""
    return _theirs(name, merging_starts_a_stage=False)


def to_timm(name: str) -> str:
    """Timm's name of a tensor of ours."""
    name = _theirs(name, merging_starts_a_stage=True)
    return re.sub(r"^head\.(?=weight|bias)", "head.fc.", name)


def from_microsoft(name: str) -> str:
    """Our name of a tensor of Microsoft's."""
    return _ours(name, merging_starts_a_stage=False)


def from_timm(name: str) -> str:
    """Our name of a tensor of timm's."""
    return _ours(name.replace("head.fc.", "head."), merging_starts_a_stage=True)


def microsoft_buffers(spec: SwinSpec, image_size: int, own: dict[str, Tensor]) -> dict[str, Tensor]:
    """The buffers that Microsoft's network has in its state dict, under its names; `own` is our state dict."""
    area = spec.window**2
    buffers = {
        to_microsoft(name): index.reshape(area, area) for name, index in own.items() if name.endswith(INDEX)
    }
    for stage, side in enumerate(stage_sides(spec, image_size)):
        for block in range(1, spec.depths[stage], 2) if side > spec.window else ():
            buffers[f"layers.{stage}.blocks.{block}.{MASK}"] = shift_mask(side, spec.window)
    return buffers


def shift_mask(side: int, window: int) -> Tensor:
    """[windows, window^2, window^2]: -100 between tokens that only the shift by half a window brought together."""
    strip = torch.zeros(side, dtype=torch.int64)
    strip[side - window :], strip[side - window // 2 :] = 1, 2
    regions = 3 * strip[:, None] + strip
    count = side // window
    windows = regions.reshape(count, window, count, window).transpose(1, 2).reshape(count**2, window**2)
    return (windows[:, :, None] != windows[:, None, :]) * -100.0


def _theirs(name: str, *, merging_starts_a_stage: bool) -> str:
    found = re.fullmatch(r"features\.(\d+)\.(.+)", name)
    if found is None:
        return name
    place, rest = int(found[1]), found[2]
    if place == 0:
        layer, rest = rest.split(".", 1)
        return f"patch_embed.{STEM[layer]}.{rest}"
    if place % 2:
        block, rest = rest.split(".", 1)
        return f"layers.{place // 2}.blocks.{block}.{_renamed(rest, MLP)}"
    return f"layers.{place // 2 - (not merging_starts_a_stage)}.downsample.{rest}"


def _ours(name: str, *, merging_starts_a_stage: bool) -> str:
    if stem := re.fullmatch(r"patch_embed\.(proj|norm)\.(.+)", name):
        return f"features.0.{_turned(STEM)[stem[1]]}.{stem[2]}"
    if block := re.fullmatch(r"layers\.(\d+)\.blocks\.(\d+)\.(.+)", name):
        return f"features.{2 * int(block[1]) + 1}.{block[2]}.{_renamed(block[3], _turned(MLP))}"
    if merging := re.fullmatch(r"layers\.(\d+)\.downsample\.(.+)", name):
        return f"features.{2 * (int(merging[1]) + (not merging_starts_a_stage))}.{merging[2]}"
    return name


def _renamed(name: str, names: dict[str, str]) -> str:
    layer, _, last = name.rpartition(".")
    return f"{names.get(layer, layer)}.{last}" if layer else last


def _turned(names: dict[str, str]) -> dict[str, str]:
    return {theirs: ours for ours, theirs in names.items()}
