"""Counting a BiT network. Before each convolution a GroupNorm keeps its input and a ReLU its output, both in fp32."""

from collections.abc import Iterator

from raytrain.models.arithmetic.layers import FP32, Layer, both, linear, pixels, strided
from raytrain.models.spec import BitSpec


def bit(spec: BitSpec, classes: int, image_size: int, element: int) -> Iterator[Layer]:
    """Layer by layer."""
    side, channels = strided(image_size, 2), spec.stem_width * spec.widen
    yield pixels(image_size, element)
    yield _conv(3, channels, 7, side)
    padded = channels * (side + 2) ** 2 * element
    side = strided(side, 2)
    yield Layer(0, 0, padded + channels * side**2 * 8)  # max pooling keeps its input and int64 places
    for stage, (planes, depth) in enumerate(zip(spec.planes, spec.depths, strict=True)):
        for block in range(depth):
            stride = 2 if stage and not block else 1
            yield from _residual(channels, planes, side, stride, element)
            side, channels = strided(side, stride), 4 * planes
    yield _norm(channels, side, element)
    yield linear(channels, classes)


def _residual(channels: int, planes: int, side: int, stride: int, element: int) -> Iterator[Layer]:
    out, outer = 4 * planes, strided(side, stride)
    yield _norm(channels, side, element)
    yield _conv(channels, planes, 1, side)
    yield _norm(planes, side, element)
    yield _conv(planes, planes, 3, outer)
    yield _norm(planes, outer, element)
    yield _conv(planes, out, 1, outer)
    if stride > 1 or channels != out:
        yield _conv(channels, out, 1, outer)


def _conv(channels: int, out: int, kernel: int, side: int) -> Layer:
    weights = kernel**2 * channels * out
    return Layer(weights, weights * side**2, 0)


def _norm(channels: int, side: int, element: int) -> Layer:
    """GroupNorm and ReLU: the norm's input and the ReLU's output, which the products read in their own precision."""
    return Layer(2 * channels, 0, channels * side**2 * (FP32 + both(element)))
