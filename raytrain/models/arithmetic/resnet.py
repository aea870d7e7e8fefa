"""Counting a ResNet, WideResNet or ResNeXt with its attention. A norm keeps its input, a ReLU its output."""

from collections.abc import Iterator

from raytrain.models.arithmetic.layers import Layer, conv, linear, pixels, strided
from raytrain.models.spec import ResNetSpec


def resnet(spec: ResNetSpec, classes: int, image_size: int, element: int) -> Iterator[Layer]:
    """Layer by layer."""
    side = strided(image_size, 2)
    yield pixels(image_size, element)
    yield conv(3, spec.stem_width, 7, side, kept=2 * element)
    side = strided(side, 2)
    yield Layer(0, 0, spec.stem_width * side**2 * (element + 8))  # the output and int64 places of the maxima
    channels = spec.stem_width
    for stage, (planes, depth) in enumerate(zip(spec.planes, spec.depths, strict=True)):
        for block in range(depth):
            stride = 2 if stage and not block else 1
            yield from _residual(spec, channels, planes, side, stride, element)
            side, channels = strided(side, stride), planes * spec.expansion
    yield linear(channels, classes)


def _residual(
    spec: ResNetSpec, channels: int, planes: int, side: int, stride: int, element: int
) -> Iterator[Layer]:
    """Convolutions with their norms, attention, shortcut."""
    out, outer = planes * spec.expansion, strided(side, stride)
    if spec.block == "basic":
        yield conv(channels, planes, 3, outer, kept=2 * element)
        yield conv(planes, out, 3, outer, kept=element)
    else:
        inner = spec.inner_width(planes)
        between = outer if spec.stride_in_1x1 else side
        yield conv(channels, inner, 1, between, kept=2 * element)
        yield conv(inner, inner, 3, outer, kept=2 * element, groups=spec.groups)
        yield conv(inner, out, 1, outer, kept=element)
    if stride > 1 or channels != out:
        yield conv(channels, out, 1, outer, kept=element)
    gated = out * outer**2 * element  # a gate keeps what it multiplies
    if spec.has_channel_gate:
        yield _channel_gate(spec, out, gated)
    if spec.has_spatial_gate:
        yield _spatial_gate(spec, out, outer, gated)
    yield Layer(0, 0, out * outer**2 * element)


def _channel_gate(spec: ResNetSpec, channels: int, gated: int) -> Layer:
    """The MLP, run once for each pool."""
    hidden = spec.squeezed(channels)
    mlp = 2 * channels * hidden
    runs = 2 if spec.attention != "se" and spec.channel_pools == "avg_max" else 1
    return Layer(mlp + (hidden + channels) * spec.mlp_bias, runs * mlp, gated)


def _spatial_gate(spec: ResNetSpec, channels: int, side: int, gated: int) -> Layer:
    """The convolution over the maps, after the one that makes its map where `spatial_maps` is `conv`."""
    learned_maps = channels if spec.spatial_maps == "conv" else 0
    weights = (1 if learned_maps else 2) * spec.spatial_kernel**2
    return Layer(learned_maps + weights + 2 * spec.spatial_norm, (learned_maps + weights) * side**2, gated)
