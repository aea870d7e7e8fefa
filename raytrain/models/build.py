"""From a spec to a torch module, with the same initial weights for the same seed."""

import torch
from torch import nn

from raytrain.models.bit import BitResNet
from raytrain.models.regnet import regnet
from raytrain.models.resnet import ResNet
from raytrain.models.spec import BitSpec, RegNetSpec, ResNetSpec, Spec, SwinSpec, VitSpec
from raytrain.models.swin import swin
from raytrain.models.vit import vit


def build(spec: Spec, classes: int, image_size: int, seed: int | None) -> nn.Module:
    """The network, images float [b, 3, image_size, image_size] to logits [b, classes].

    The weights are a function of `seed` alone, and torch's generator is left as it was; None draws from it.
    Raises UsageError where a Swin's windows or a ViT's patches do not tile the picture.
    """
    with torch.random.fork_rng(devices=(), enabled=seed is not None):
        if seed is not None:
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would also set CUDA's
        match spec:
            case SwinSpec():
                return swin(spec, classes, image_size)
            case ResNetSpec():
                return ResNet(spec, classes)
            case RegNetSpec():
                return regnet(spec, classes)
            case VitSpec():
                return vit(spec, classes, image_size)
            case BitSpec():
                return BitResNet(spec, classes)
