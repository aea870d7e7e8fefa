"""BiT: ResNet-v2 with GroupNorm and standardised weights, so that it needs no batch statistics.

Kolesnikov et al. 2020, "Big Transfer"; weight standardisation: Qiao et al. 2019. Small and ours: torchvision has none.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import StochasticDepth

from raytrain.models.spec import BitSpec, drop_rates

EPS = 1e-10  # of the weights' variance (google-research/big_transfer)


class StandardConv2d(nn.Conv2d):
    """A convolution whose weights have mean 0 and variance 1 in each output channel, whatever they are."""

    def forward(self, x: Tensor) -> Tensor:
        """[b, channels, s, s] to [b, out, s / stride, s / stride]."""
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, unbiased=False)
        weight = (self.weight - mean) * torch.rsqrt(variance + EPS)
        return F.conv2d(x, weight, None, self.stride, self.padding)


def _conv(channels: int, out: int, kernel: int, stride: int = 1) -> StandardConv2d:
    return StandardConv2d(channels, out, kernel, stride, padding=kernel // 2, bias=False)


class PreBottleneck(nn.Module):
    """Norm and ReLU before each of 1x1, 3x3 with the stride, 1x1; the shortcut starts after the first ReLU."""

    def __init__(self, spec: BitSpec, channels: int, planes: int, stride: int, rate: float) -> None:
        super().__init__()
        out = 4 * planes
        self.norm1, self.conv1 = nn.GroupNorm(spec.norm_groups, channels), _conv(channels, planes, 1)
        self.norm2, self.conv2 = nn.GroupNorm(spec.norm_groups, planes), _conv(planes, planes, 3, stride)
        self.norm3, self.conv3 = nn.GroupNorm(spec.norm_groups, planes), _conv(planes, out, 1)
        self.downsample = _conv(channels, out, 1, stride) if stride > 1 or channels != out else None
        self.drop_path = StochasticDepth(rate, "row")

    def forward(self, x: Tensor) -> Tensor:
        """[b, channels, s, s] to [b, 4 * planes, s / stride, s / stride]."""
        y = torch.relu_(self.norm1(x))
        shortcut = x if self.downsample is None else self.downsample(y)
        y = torch.relu_(self.norm2(self.conv1(y)))
        y = torch.relu_(self.norm3(self.conv2(y)))
        return shortcut + self.drop_path(self.conv3(y))  # type: ignore[no-any-return]


class BitResNet(nn.Module):
    """Stem without norm, stages `layer1`, `layer2`, ..., norm, ReLU, the mean over the picture, `fc`."""

    def __init__(self, spec: BitSpec, classes: int) -> None:
        super().__init__()
        width = spec.stem_width * spec.widen
        self.conv1 = _conv(3, width, 7, 2)
        self.layers = nn.Sequential(_stages(spec))
        out = 4 * spec.planes[-1]
        self.norm = nn.GroupNorm(spec.norm_groups, out)
        self.fc = nn.Linear(out, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Images [b, 3, s, s] to logits [b, classes]."""
        x = F.max_pool2d(
            F.pad(self.conv1(x), (1, 1, 1, 1)), 3, 2
        )  # zeros at the border, as there is no ReLU yet
        x = torch.relu_(self.norm(self.layers(x)))
        return self.fc(x.mean((2, 3)))  # type: ignore[no-any-return]


def _stages(spec: BitSpec) -> OrderedDict[str, nn.Module]:
    rates = iter(drop_rates(spec.drop_path, sum(spec.depths)))
    channels = spec.stem_width * spec.widen
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    for stage, (planes, depth) in enumerate(zip(spec.planes, spec.depths, strict=True)):
        blocks: list[nn.Module] = []
        for block in range(depth):
            stride = 2 if stage and not block else 1
            blocks.append(PreBottleneck(spec, channels, planes, stride, next(rates)))
            channels = 4 * planes
        stages[f"layer{stage + 1}"] = nn.Sequential(*blocks)
    return stages
