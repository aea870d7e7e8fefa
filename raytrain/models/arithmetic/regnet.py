"""Counting a RegNetY. A norm keeps its input, a ReLU its output, a gate what it multiplies."""

from collections.abc import Iterator

from raytrain.models.arithmetic.layers import Layer, conv, linear, pixels, strided
from raytrain.models.spec import RegNetSpec


def regnet(spec: RegNetSpec, classes: int, image_size: int, element: int) -> Iterator[Layer]:
    """Layer by layer."""
    side, channels = strided(image_size, 2), spec.stem_width
    yield pixels(image_size, element)
    yield conv(3, channels, 3, side, kept=2 * element)
    for width, depth in zip(spec.widths, spec.depths, strict=True):
        for block in range(depth):
            stride = 1 if block else 2
            yield from _residual(spec, channels, width, side, stride, element)
            side, channels = strided(side, stride), width
    yield linear(channels, classes)


def _residual(
    spec: RegNetSpec, channels: int, width: int, side: int, stride: int, element: int
) -> Iterator[Layer]:
    outer, hidden = strided(side, stride), spec.squeezed(channels)
    yield conv(channels, width, 1, side, kept=2 * element)
    yield conv(width, width, 3, outer, kept=2 * element, groups=width // spec.group_width)
    gate = 2 * width * hidden
    yield Layer(gate + hidden + width, gate, width * outer**2 * element)
    yield conv(width, width, 1, outer, kept=element)
    if stride > 1 or channels != width:
        yield conv(channels, width, 1, outer, kept=element)
    yield Layer(0, 0, width * outer**2 * element)
