"""From a spec to a torch module, with the same initial weights for the same seed."""

import torch
from torch import nn

from raytrain.models.resnet import ResNet
from raytrain.models.spec import ResNetSpec, SwinSpec
from raytrain.models.swin import swin


def build(spec: SwinSpec | ResNetSpec, classes: int, image_size: int, seed: int | None) -> nn.Module:
    """The network, images float [b, 3, image_size, image_size] to logits [b, classes].

    The weights are a function of `seed` alone, and torch's generator is left as it was; None draws from it.
    Raises UsageError where a Swin's windows do not tile the picture.
    """
    with torch.random.fork_rng(devices=(), enabled=seed is not None):
        if seed is not None:
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would also set CUDA's
        if isinstance(spec, SwinSpec):
            return swin(spec, classes, image_size)
        return ResNet(spec, classes)
