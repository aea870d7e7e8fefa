"""What the families' counts are made of. Bytes: `element` is the precision of the products, norms run in fp32."""

from typing import NamedTuple

FP32 = 4


class Layer(NamedTuple):
    """One layer's share: learned numbers; per image, multiply-adds and bytes kept for the backward pass."""

    parameters: int
    macs: int
    kept: int


def conv(channels: int, out: int, kernel: int, side: int, *, kept: int, groups: int = 1) -> Layer:
    """A convolution without bias and its norm. `side` is the output's, `kept` in bytes per output value."""
    weights = kernel**2 * channels // groups * out
    return Layer(weights + 2 * out, weights * side**2, out * side**2 * kept)


def linear(channels: int, out: int) -> Layer:
    """A matrix with biases on one vector per image."""
    return Layer(channels * out + out, channels * out, 0)


def pixels(image_size: int, element: int) -> Layer:
    """The picture itself: the first convolution keeps its input."""
    return Layer(0, 0, 3 * image_size**2 * both(element))


def strided(side: int, stride: int) -> int:
    """The output's side of an odd kernel padded by half its size."""
    return -(-side // stride)


def both(element: int) -> int:
    """Bytes of a value kept in fp32 and, where that is another type, in the precision of the products too."""
    return FP32 if element == FP32 else FP32 + element
