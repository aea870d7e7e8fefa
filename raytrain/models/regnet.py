"""RegNetY, as torchvision's RegNet with its widths given and stochastic depth added to its blocks."""

from typing import Any

from torch import Tensor, nn
from torchvision.models.regnet import BlockParams, RegNet, ResBottleneckBlock
from torchvision.ops import StochasticDepth

from raytrain.models.spec import RegNetSpec, drop_rates


class Block(ResBottleneckBlock):  # type: ignore[misc]
    """torchvision's block, whose branch may be dropped. Its parameter names are torchvision's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.drop_path = StochasticDepth(0.0, "row")

    def forward(self, x: Tensor) -> Tensor:
        """[b, width_in, s, s] to [b, width, s / stride, s / stride]."""
        shortcut = x if self.proj is None else self.proj(x)
        return self.activation(shortcut + self.drop_path(self.f(x)))  # type: ignore[no-any-return]


def regnet(spec: RegNetSpec, classes: int) -> nn.Module:
    """The network. torchvision's own `regnet_y_8gf` is another one: its widths are rounded (168 to 224)."""
    stages = len(spec.depths)
    shape = BlockParams(
        depths=list(spec.depths),
        widths=list(spec.widths),
        group_widths=[spec.group_width] * stages,
        bottleneck_multipliers=[1.0] * stages,
        strides=[2] * stages,
        se_ratio=spec.se_ratio,
    )
    model: nn.Module = RegNet(shape, classes, stem_width=spec.stem_width, block_type=Block)
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    for block, rate in zip(blocks, drop_rates(spec.drop_path, len(blocks)), strict=True):
        block.drop_path.p = rate
    return model
