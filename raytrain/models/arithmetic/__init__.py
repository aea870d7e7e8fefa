"""Counting a network from its spec alone: parameters, multiply-adds, bytes of activations. No torch.

Multiply-adds follow the papers: convolutions and matrix products only, called "FLOPs" there. No norm,
activation, pooling, bias or element-wise product is counted. Parameters and multiply-adds are exact (tests hold
them against torch on the meta device); bytes of activations are an estimate.
"""

from collections.abc import Iterator

from raytrain.models.arithmetic.bit import bit
from raytrain.models.arithmetic.layers import FP32, Layer
from raytrain.models.arithmetic.regnet import regnet
from raytrain.models.arithmetic.resnet import resnet
from raytrain.models.arithmetic.swin import stage_sides, swin
from raytrain.models.arithmetic.vit import patches, vit
from raytrain.models.spec import BitSpec, RegNetSpec, ResNetSpec, Spec, SwinSpec, VitSpec

__all__ = ["activation_bytes", "forward_macs", "parameters", "patches", "stage_sides"]


def parameters(spec: Spec, classes: int, image_size: int) -> int:
    """How many numbers are learned; a ViT learns one position per patch. Raises UsageError like `forward_macs`."""
    return sum(layer.parameters for layer in _layers(spec, classes, image_size, FP32))


def forward_macs(spec: Spec, classes: int, image_size: int) -> int:
    """Multiply-adds of one image's forward pass. Raises UsageError where windows or patches do not tile the image."""
    return sum(layer.macs for layer in _layers(spec, classes, image_size, FP32))


def activation_bytes(spec: Spec, image_size: int, bytes_per_element: int = 2) -> int:
    """ESTIMATE of the memory one image holds from forward to backward, in bytes. Raises like `forward_macs`.

    The accounting of Korthikanti et al. 2022 ("Reducing Activation Recomputation in Large Transformer Models",
    section 4.1), layer by layer, for what unfused PyTorch keeps under autocast: matrix products and convolutions
    keep inputs of `bytes_per_element`, norms of transformers and softmax run in fp32. Left out: workspaces,
    gradients in flight, the allocator's fragments, BiT's standardised copy of the weights, and anything of the
    size of one value per channel.
    """
    return sum(layer.kept for layer in _layers(spec, 1, image_size, bytes_per_element))


def _layers(spec: Spec, classes: int, image_size: int, element: int) -> Iterator[Layer]:
    match spec:
        case SwinSpec():
            return swin(spec, classes, image_size, element)
        case ResNetSpec():
            return resnet(spec, classes, image_size, element)
        case RegNetSpec():
            return regnet(spec, classes, image_size, element)
        case VitSpec():
            return vit(spec, classes, image_size, element)
        case BitSpec():
            return bit(spec, classes, image_size, element)
