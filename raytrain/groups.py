"""Parameter groups: which parameters decay, and at what share of the learning rate. Names and shapes in; no torch.

Layer decay (Bao et al. 2021, BEiT; SimMIM for Swin) gives layer i of n the learning rate times decay^(n - 1 - i): two
groups per layer, 52 for a Swin-B. ZeRO keeps every group as a flat tensor of its own, and reduces, steps and
gathers each by itself; so here neighbouring layers share the mean of their exponents, in a few buckets.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import mean
from typing import NamedTuple

from raytrain.errors import UsageError
from raytrain.models.spec import ModelSpec, SwinSpec, VitSpec
from raytrain.recipe import Optimizer

SPARED = (".bias", "relative_position_bias_table", "class_token", "pos_embedding")


class Group(NamedTuple):
    """Parameters by name that share a weight decay and `lr_scale`, the factor on the step's learning rate."""

    name: str
    lr_scale: float
    weight_decay: float
    parameters: tuple[str, ...]


def parameter_groups(
    shapes: Mapping[str, Sequence[int]], spec: ModelSpec, optimizer: Optimizer
) -> list[Group]:
    """Every parameter of `shapes` in one group: by bucket of layers, first to last, then by whether it decays.

    Without layer decay they are "decay" and "no_decay". No group is empty. Raises UsageError like `layer_count`.
    """
    if optimizer.layer_decay == 1:
        return _split("", 1.0, shapes, optimizer)
    layers = layer_count(spec)
    groups = []
    for bucket in layer_buckets(layers, optimizer.layer_buckets):
        held = {name: shape for name, shape in shapes.items() if layer_of(name, spec) in bucket}
        scale = optimizer.layer_decay ** mean(layers - 1 - layer for layer in bucket)
        which = f"layer {bucket[0]} " if len(bucket) == 1 else f"layers {bucket[0]}-{bucket[-1]} "
        groups += _split(which, scale, held, optimizer)
    return groups


def _split(
    prefix: str, scale: float, shapes: Mapping[str, Sequence[int]], optimizer: Optimizer
) -> list[Group]:
    decayed = tuple(name for name, shape in shapes.items() if optimizer.decay_all or decays(name, shape))
    spared = tuple(name for name in shapes if name not in decayed)
    groups = [
        Group(f"{prefix}decay", scale, optimizer.weight_decay, decayed),
        Group(f"{prefix}no_decay", scale, 0.0, spared),
    ]
    return [group for group in groups if group.parameters]


def decays(name: str, shape: Sequence[int]) -> bool:
    """Whether weight decay is for this parameter: not for norms and biases, nor for tables of positions and tokens.

    microsoft/Swin-Transformer optimizer.py set_weight_decay (1-D, .bias) and models/swin_transformer.py
    no_weight_decay_keywords (relative_position_bias_table); class token and position embedding: timm
    vision_transformer.py no_weight_decay, and pytorch/vision's --transformer-embedding-decay 0.
    """
    return len(shape) > 1 and not name.endswith(SPARED)


def layer_count(spec: ModelSpec) -> int:
    """How many layers stand in depth order: the embedding, each block, and the last norm with the head.

    Raises UsageError for a network without such an order.
    """
    if isinstance(spec, SwinSpec):
        return sum(spec.depths) + 2
    if isinstance(spec, VitSpec):
        return spec.depth + 2
    raise UsageError(
        f"optimizer.layer_decay needs layers in depth order: swin and vit have them, a {spec.family} here has not. "
        "Use --set optimizer.layer_decay=1"
    )


def layer_of(name: str, spec: ModelSpec) -> int:
    """The layer of a parameter, 0 .. layer_count - 1. A patch merging belongs to the block before it.

    microsoft/Swin-Transformer optimizer.py get_swin_layer, and facebookresearch/mae util/lr_decay.py for ViT: there
    class token and positions belong to the embedding. Both for torchvision's names.
    """
    if isinstance(spec, VitSpec):
        return _vit_layer(name, spec)
    assert isinstance(spec, SwinSpec)
    first, *rest = name.split(".")
    if first != "features":
        return layer_count(spec) - 1
    part = int(rest[0])  # 0 the embedding; then stages at odd places, mergings between them
    before = sum(spec.depths[: part // 2])
    return before + int(rest[1]) + 1 if part % 2 else before


def _vit_layer(name: str, spec: VitSpec) -> int:
    if name.startswith(("conv_proj.", "class_token", "encoder.pos_embedding")):
        return 0
    block = re.match(r"encoder\.layers\.encoder_layer_(\d+)\.", name)
    return int(block[1]) + 1 if block else layer_count(spec) - 1


def layer_buckets(layers: int, buckets: int) -> list[range]:
    """Runs of layers that share a learning rate, at most `buckets`, near-equal in length; the last layer is alone.

    For the last layer holds the head, which is new in a fine-tune and learns at the full rate.
    """
    runs = min(buckets - 1, layers - 1)
    edges = [(layers - 1) * run // runs for run in range(runs + 1)]
    return [*(range(first, end) for first, end in pairwise(edges)), range(layers - 1, layers)]


def zero_padding(numbers: Sequence[int], workers: int) -> int:
    """How many numbers ZeRO adds to groups of these sizes: each is rounded up to a multiple of 2 x workers.

    deepspeed 0.19.8 runtime/zero/stage_1_and_2.py: nccl_start_alignment_factor times the ranks.
    """
    return sum(-count % (2 * workers) for count in numbers)
