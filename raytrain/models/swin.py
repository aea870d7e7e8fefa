"""Swin, as torchvision's SwinTransformer: bit-equal to timm's where windows tile (tests/raytrain/test_timm_weights.py).

To Microsoft's code too, which was run once beside it (docs/LOG.md).
"""

from torch import nn
from torchvision.models.swin_transformer import SwinTransformer

from raytrain.models.arithmetic import stage_sides
from raytrain.models.spec import SwinSpec


def swin(spec: SwinSpec, classes: int, image_size: int) -> nn.Module:
    """The network for pictures of `image_size`. Raises UsageError where the windows do not tile it.

    The class itself and not torchvision's builders: those fix window, depth, heads and drop path.
    """
    stage_sides(spec, image_size)
    model: nn.Module = SwinTransformer(
        patch_size=[spec.patch, spec.patch],
        embed_dim=spec.embed_dim,
        depths=list(spec.depths),
        num_heads=[width // spec.head_dim for width in spec.widths],
        window_size=[spec.window, spec.window],
        mlp_ratio=spec.mlp_ratio,
        stochastic_depth_prob=spec.drop_path,
        num_classes=classes,
    )
    return model
