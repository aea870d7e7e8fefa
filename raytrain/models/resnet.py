"""ResNet, WideResNet and ResNeXt with an attention slot, under torchvision's parameter names.

A plain torchvision ResNet or ResNeXt checkpoint loads with only `.se.` or `.cbam.` keys missing. What
torchvision's own class cannot do: attention, drop path, a widened body under a plain stem, the stride on the
first 1x1, a narrower stem, fewer stages than four.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from raytrain.models.attention import Cbam, SqueezeExcite
from raytrain.models.spec import ResNetSpec, drop_rates


def _conv(channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2, groups=groups, bias=False)


def _shortcut(channels: int, out: int, stride: int) -> nn.Module:
    if stride == 1 and channels == out:
        return nn.Identity()
    return nn.Sequential(_conv(channels, out, 1, stride), nn.BatchNorm2d(out))


class Residual(nn.Module):
    """relu(shortcut + drop_path(attention(branch))); a subclass is a branch."""

    def __init__(self, spec: ResNetSpec, channels: int, planes: int, stride: int, drop_path: float) -> None:
        super().__init__()
        self.make_branch(spec, channels, planes, stride)
        out = planes * spec.expansion
        self.se = SqueezeExcite(spec, out) if spec.attention == "se" else nn.Identity()
        self.cbam = nn.Identity() if spec.attention in ("none", "se") else Cbam(spec, out)
        self.downsample = _shortcut(channels, out, stride)
        self.drop_path = StochasticDepth(drop_path, "row")

    def make_branch(self, spec: ResNetSpec, channels: int, planes: int, stride: int) -> None:
        """Make the branch's layers."""
        raise NotImplementedError

    def branch(self, x: Tensor) -> Tensor:
        """From the block's input to the last norm's output."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """[b, channels, s, s] to [b, planes * expansion, s / stride, s / stride]."""
        branch = self.drop_path(self.cbam(self.se(self.branch(x))))
        return torch.relu_(branch + self.downsample(x))


class BasicBlock(Residual):
    """Two 3x3 convolutions."""

    def make_branch(self, spec: ResNetSpec, channels: int, planes: int, stride: int) -> None:  # noqa: ARG002
        """See Residual."""
        self.conv1, self.bn1 = _conv(channels, planes, 3, stride), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = _conv(planes, planes, 3), nn.BatchNorm2d(planes)

    def branch(self, x: Tensor) -> Tensor:
        """See Residual."""
        x = torch.relu_(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(x))  # type: ignore[no-any-return]


class Bottleneck(Residual):
    """1x1, 3x3 in groups, 1x1; the stride is on the first 1x1 (the papers) or on the 3x3 (torchvision's V1.5)."""

    def make_branch(self, spec: ResNetSpec, channels: int, planes: int, stride: int) -> None:
        """See Residual."""
        inner, out = spec.inner_width(planes), planes * spec.expansion
        first, second = (stride, 1) if spec.stride_in_1x1 else (1, stride)
        self.conv1, self.bn1 = _conv(channels, inner, 1, first), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = _conv(inner, inner, 3, second, spec.groups), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = _conv(inner, out, 1), nn.BatchNorm2d(out)

    def branch(self, x: Tensor) -> Tensor:
        """See Residual."""
        x = torch.relu_(self.bn1(self.conv1(x)))
        x = torch.relu_(self.bn2(self.conv2(x)))
        return self.bn3(self.conv3(x))  # type: ignore[no-any-return]


class ResNet(nn.Module):
    """Stem, stages `layer1`, `layer2`, ..., the mean over the picture, `fc`."""

    def __init__(self, spec: ResNetSpec, classes: int) -> None:
        super().__init__()
        self.conv1 = _conv(3, spec.stem_width, 7, 2)
        self.bn1 = nn.BatchNorm2d(spec.stem_width)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        self.stages = tuple(f"layer{stage + 1}" for stage in range(len(spec.depths)))
        for name, layer in _stages(spec).items():
            self.add_module(name, layer)
        self.fc = nn.Linear(spec.planes[-1] * spec.expansion, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Images [b, 3, s, s] to logits [b, classes]."""
        x = self.maxpool(torch.relu_(self.bn1(self.conv1(x))))
        for name in self.stages:
            x = self.get_submodule(name)(x)
        return self.fc(x.mean((2, 3)))  # type: ignore[no-any-return]


def _stages(spec: ResNetSpec) -> OrderedDict[str, nn.Module]:
    """The stages by name."""
    kind = BasicBlock if spec.block == "basic" else Bottleneck
    rates = iter(drop_rates(spec.drop_path, sum(spec.depths)))
    channels = spec.stem_width
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    for stage, (planes, depth) in enumerate(zip(spec.planes, spec.depths, strict=True)):
        blocks: list[nn.Module] = []
        for block in range(depth):
            stride = 2 if stage and not block else 1
            blocks.append(kind(spec, channels, planes, stride, next(rates)))
            channels = planes * spec.expansion
        stages[f"layer{stage + 1}"] = nn.Sequential(*blocks)
    return stages
