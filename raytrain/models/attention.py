"""Squeeze-and-excitation and CBAM, as in the CBAM authors' code (Jongchan/attention-module, MODELS/cbam.py).

Hu et al. 2018, "Squeeze-and-Excitation Networks"; Woo et al. 2018, "CBAM: Convolutional Block Attention Module".
The code goes beyond the paper's formulas in four places, kept here because the published parameter counts and
weights need them: biases in the MLP, the order [max, mean] of the two maps, a BatchNorm after the spatial
convolution, and that norm's start at zero.
"""

import torch
from torch import Tensor, nn


class ChannelMlp(nn.Module):
    """channels -> hidden -> channels with a ReLU between. Weights start as torch's Linear, biases at 0."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)
        nn.init.zeros_(self.fc1.bias)
        nn.init.zeros_(self.fc2.bias)

    def forward(self, pooled: Tensor) -> Tensor:
        """Any [..., channels] to the same shape."""
        return self.fc2(torch.relu(self.fc1(pooled)))  # type: ignore[no-any-return]


class SqueezeExcite(nn.Module):
    """Weigh each channel by what its mean over the picture says. [b, c, h, w] to the same shape."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.mlp = ChannelMlp(channels, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """[b, c, h, w] to the same shape."""
        return x * torch.sigmoid(self.mlp(x.mean((2, 3))))[:, :, None, None]


class Cbam(nn.Module):
    """Weigh each channel by its mean and maximum, then each place by the mean and maximum over channels.

    The spatial norm's weight and bias start at 0, so the spatial gate starts at 0.5 everywhere, and the
    convolution before it gets no gradient on the very first step.
    """

    def __init__(self, channels: int, hidden: int, kernel: int) -> None:
        super().__init__()
        self.mlp = ChannelMlp(channels, hidden)
        self.conv = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(1, momentum=0.01)
        nn.init.zeros_(self.bn.weight)

    def forward(self, x: Tensor) -> Tensor:
        """[b, c, h, w] to the same shape."""
        # max(dim) keeps one place per maximum for backward, where amax would read everything again.
        pooled = torch.stack([x.mean((2, 3)), x.flatten(2).max(2).values])
        x = x * torch.sigmoid(self.mlp(pooled).sum(0))[:, :, None, None]
        maps = torch.cat([x.max(1, keepdim=True).values, x.mean(1, keepdim=True)], 1)
        return x * torch.sigmoid(self.bn(self.conv(maps)))
