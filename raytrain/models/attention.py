"""Squeeze-and-excitation, and CBAM with the arrangements of its gates. `ResNetSpec` says what each option is.

Hu et al. 2018, "Squeeze-and-Excitation Networks"; Woo et al. 2018, "CBAM: Convolutional Block Attention Module".
By default CBAM is the authors' code (Jongchan/attention-module, MODELS/cbam.py), which goes beyond the paper's
formulas in four places: biases in the MLP, the order [max, mean] of the two maps, a BatchNorm after the spatial
convolution, and that norm's start at zero. Where a maximum is shared by several places, one of them gets the gradient.
"""

import torch
from torch import Tensor, nn

from raytrain.models.spec import ResNetSpec


class ChannelMlp(nn.Module):
    """channels -> hidden -> channels with a ReLU between. Weights start as torch's Linear, biases at 0."""

    def __init__(self, channels: int, hidden: int, *, bias: bool) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden, bias=bias)
        self.fc2 = nn.Linear(hidden, channels, bias=bias)
        if bias:
            nn.init.zeros_(self.fc1.bias)
            nn.init.zeros_(self.fc2.bias)

    def forward(self, pooled: Tensor) -> Tensor:
        """Any [..., channels] to the same shape."""
        return self.fc2(torch.relu(self.fc1(pooled)))  # type: ignore[no-any-return]


class SqueezeExcite(nn.Module):
    """Weigh each channel by what its mean over the picture says. [b, c, h, w] to the same shape."""

    def __init__(self, spec: ResNetSpec, channels: int) -> None:
        super().__init__()
        self.mlp = ChannelMlp(channels, spec.squeezed(channels), bias=spec.mlp_bias)

    def forward(self, x: Tensor) -> Tensor:
        """[b, c, h, w] to the same shape."""
        return x * torch.sigmoid(self.mlp(x.mean((2, 3))))[:, :, None, None]


class Cbam(nn.Module):
    """Weigh each channel by its mean and maximum, then each place by the mean and maximum over channels.

    `spec.attention` may leave one gate out, turn the order round, or take both gates from the same input
    (`parallel`; the paper does not print how it joins them there: ours multiplies by both).
    """

    def __init__(self, spec: ResNetSpec, channels: int) -> None:
        super().__init__()
        self.arrangement, self.pools, self.maps = spec.attention, spec.channel_pools, spec.spatial_maps
        if spec.has_channel_gate:
            self.mlp = ChannelMlp(channels, spec.squeezed(channels), bias=spec.mlp_bias)
        if spec.has_spatial_gate:
            self._make_spatial(spec, channels)

    def _make_spatial(self, spec: ResNetSpec, channels: int) -> None:
        learned = spec.spatial_maps == "conv"
        self.pool = nn.Conv2d(channels, 1, 1, bias=False) if learned else nn.Identity()
        kernel = spec.spatial_kernel
        self.conv = nn.Conv2d(1 if learned else 2, 1, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(1, momentum=0.01) if spec.spatial_norm else nn.Identity()
        if spec.gate_start == "half":
            nn.init.zeros_((self.bn if isinstance(self.bn, nn.BatchNorm2d) else self.conv).weight)

    def forward(self, x: Tensor) -> Tensor:
        """[b, c, h, w] to the same shape."""
        match self.arrangement:
            case "channel":
                return x * self.channel_gate(x)
            case "spatial":
                return x * self.spatial_gate(x)
            case "spatial_channel":
                x = x * self.spatial_gate(x)
                return x * self.channel_gate(x)
            case "parallel":
                return x * self.channel_gate(x) * self.spatial_gate(x)
        x = x * self.channel_gate(x)
        return x * self.spatial_gate(x)

    def channel_gate(self, x: Tensor) -> Tensor:
        """[b, c, h, w] to [b, c, 1, 1] between 0 and 1."""
        # max(dim) keeps one place per maximum for backward, where amax would read everything again.
        pooled = []
        if self.pools != "max":
            pooled.append(x.mean((2, 3)))
        if self.pools != "avg":
            pooled.append(x.flatten(2).max(2).values)
        said = self.mlp(torch.stack(pooled)).unbind()
        # not sum(): on a GPU autocast makes it float32, and with the gate all that it multiplies
        return torch.sigmoid(said[0] + said[1] if len(said) > 1 else said[0])[:, :, None, None]

    def spatial_gate(self, x: Tensor) -> Tensor:
        """[b, c, h, w] to [b, 1, h, w] between 0 and 1."""
        if self.maps == "conv":
            return torch.sigmoid(self.bn(self.conv(self.pool(x))))
        maps = [x.max(1, keepdim=True).values, x.mean(1, keepdim=True)]
        return torch.sigmoid(self.bn(self.conv(torch.cat(maps if self.maps == "max_avg" else maps[::-1], 1))))
