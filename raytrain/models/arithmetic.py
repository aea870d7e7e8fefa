"""Counting a network from its spec alone: parameters, multiply-adds, bytes of activations. No torch.

Multiply-adds follow the papers: convolutions and matrix products only, called "FLOPs" there. No norm,
activation, pooling, bias or element-wise product is counted. Parameters and multiply-adds are exact (tests hold
them against torch on the meta device); bytes of activations are an estimate.
"""

from collections.abc import Iterator
from typing import NamedTuple

from raytrain.errors import UsageError
from raytrain.models.spec import ResNetSpec, SwinSpec

FP32 = 4


class Layer(NamedTuple):
    """One layer's share: learned numbers; per image, multiply-adds and bytes kept for the backward pass."""

    parameters: int
    macs: int
    kept: int


def parameters(spec: SwinSpec | ResNetSpec, classes: int) -> int:
    """How many numbers are learned."""
    any_size = spec.stride * spec.window if isinstance(spec, SwinSpec) else 1
    return sum(layer.parameters for layer in _layers(spec, classes, any_size, FP32))


def forward_macs(spec: SwinSpec | ResNetSpec, classes: int, image_size: int) -> int:
    """Multiply-adds of one image's forward pass. Raises UsageError like `stage_sides`."""
    return sum(layer.macs for layer in _layers(spec, classes, image_size, FP32))


def activation_bytes(spec: SwinSpec | ResNetSpec, image_size: int, bytes_per_element: int = 2) -> int:
    """ESTIMATE of the memory one image holds from forward to backward, in bytes. Raises UsageError like `stage_sides`.

    The accounting of Korthikanti et al. 2022 ("Reducing Activation Recomputation in Large Transformer Models",
    section 4.1), layer by layer, for what unfused PyTorch keeps under autocast: matrix products and convolutions
    keep inputs of `bytes_per_element`, layer norms and softmax run in fp32. Left out: workspaces, gradients in
    flight, the allocator's fragments, and anything of the size of one value per channel.
    """
    return sum(layer.kept for layer in _layers(spec, 1, image_size, bytes_per_element))


def stage_sides(spec: SwinSpec, image_size: int) -> tuple[int, ...]:
    """Tokens along one side of each stage.

    Raises UsageError where the windows do not tile every stage: there torchvision pads before it rolls, timm
    rolls before it pads, and Microsoft's code shrinks the window or fails, so it would be three networks.
    """
    unit = spec.stride * spec.window
    if image_size % unit:
        below = image_size // unit * unit
        sizes = " or ".join(str(size) for size in (below, below + unit) if size)
        windows = "" if image_size % spec.stride else f", or --set model.window={image_size // spec.stride}"
        raise UsageError(
            f"image size {image_size} is not tiled by window {spec.window} in every stage: it must be a multiple of "
            f"patch {spec.patch} x {spec.stride // spec.patch} x window {spec.window} = {unit}. "
            f"The nearest: --set view.image_size={sizes}{windows}"
        )
    return tuple(image_size // spec.patch // 2**stage for stage in range(len(spec.depths)))


def _layers(spec: SwinSpec | ResNetSpec, classes: int, image_size: int, element: int) -> Iterator[Layer]:
    if isinstance(spec, SwinSpec):
        return _swin(spec, classes, image_size, element)
    return _resnet(spec, classes, image_size, element)


def _both(element: int) -> int:
    """Bytes of a value kept in fp32 and, where that is another type, in the precision of the products too."""
    return FP32 if element == FP32 else FP32 + element


def _swin(spec: SwinSpec, classes: int, image_size: int, element: int) -> Iterator[Layer]:
    sides, widths = stage_sides(spec, image_size), spec.widths
    pixels, patch = 3 * image_size**2, 3 * spec.patch**2
    embedded = sides[0] ** 2 * widths[0]
    yield Layer(
        patch * widths[0] + 3 * widths[0], patch * embedded, pixels * _both(element) + embedded * FP32
    )
    for stage, (side, width, depth) in enumerate(zip(sides, widths, spec.depths, strict=True)):
        if stage:
            merged = side**2 * 2 * width  # four neighbours of half this width: 2 * width wide
            yield Layer(2 * width * width + 4 * width, merged * width, merged * (FP32 + element))
        yield from [_swin_block(spec, width, side**2, element)] * depth
    yield Layer(2 * widths[-1], 0, sides[-1] ** 2 * widths[-1] * FP32)
    yield _linear(widths[-1], classes)


def _swin_block(spec: SwinSpec, width: int, tokens: int, element: int) -> Layer:
    """Norm, window attention, norm, MLP. Kept: norms' inputs; each product's inputs; the softmax."""
    heads, area, hidden = width // spec.head_dim, spec.window**2, int(width * spec.mlp_ratio)
    products = 4 * width * width + 2 * width * hidden
    learned = products + (3 + 1) * width + hidden + width + 2 * 2 * width + (2 * spec.window - 1) ** 2 * heads
    inputs = 1 + 3 + 1 + 1  # of qkv; q, k and v of the scores; of proj; of the MLP
    kept = 2 * FP32 * width + inputs * element * width + 2 * element * hidden + heads * area * _both(element)
    return Layer(learned, tokens * (products + 2 * area * width), tokens * kept)


def _resnet(spec: ResNetSpec, classes: int, image_size: int, element: int) -> Iterator[Layer]:
    side = _strided(image_size, 2)
    yield Layer(0, 0, 3 * image_size**2 * _both(element))
    yield _conv(3, spec.stem_width, 7, side, kept=2 * element)
    side = _strided(side, 2)
    yield Layer(0, 0, spec.stem_width * side**2 * (element + 8))  # the output and int64 places of the maxima
    channels = spec.stem_width
    for stage, (planes, depth) in enumerate(zip(spec.planes, spec.depths, strict=True)):
        for block in range(depth):
            stride = 2 if stage and not block else 1
            yield from _residual(spec, channels, planes, side, stride, element)
            side, channels = _strided(side, stride), planes * spec.expansion
    yield _linear(channels, classes)


def _residual(
    spec: ResNetSpec, channels: int, planes: int, side: int, stride: int, element: int
) -> Iterator[Layer]:
    """Convolutions with their norms, attention, shortcut. A norm keeps its input, a ReLU its output."""
    out, outer = planes * spec.expansion, _strided(side, stride)
    if spec.block == "basic":
        yield _conv(channels, planes, 3, outer, kept=2 * element)
        yield _conv(planes, out, 3, outer, kept=element)
    else:
        inner = spec.inner_width(planes)
        between = outer if spec.stride_in_1x1 else side
        yield _conv(channels, inner, 1, between, kept=2 * element)
        yield _conv(inner, inner, 3, outer, kept=2 * element, groups=spec.groups)
        yield _conv(inner, out, 1, outer, kept=element)
    if stride > 1 or channels != out:
        yield _conv(channels, out, 1, outer, kept=element)
    yield _attention(spec, out, outer, element)
    yield Layer(0, 0, out * outer**2 * element)


def _attention(spec: ResNetSpec, channels: int, side: int, element: int) -> Layer:
    """A gate keeps what it multiplies; CBAM has two, and runs its MLP on the average and on the maximum."""
    hidden, gated = spec.squeezed(channels), channels * side**2 * element
    mlp = 2 * channels * hidden
    learned = mlp + hidden + channels
    if spec.attention == "none":
        return Layer(0, 0, 0)
    if spec.attention == "se":
        return Layer(learned, mlp, gated)
    spatial = 2 * spec.spatial_kernel**2
    return Layer(learned + spatial + 2, 2 * mlp + spatial * side**2, 2 * gated)


def _conv(channels: int, out: int, kernel: int, side: int, *, kept: int, groups: int = 1) -> Layer:
    """A convolution without bias and its norm. `side` is the output's, `kept` in bytes per output value."""
    weights = kernel**2 * channels // groups * out
    return Layer(weights + 2 * out, weights * side**2, out * side**2 * kept)


def _linear(channels: int, out: int) -> Layer:
    return Layer(channels * out + out, channels * out, 0)


def _strided(side: int, stride: int) -> int:
    """The output's side of an odd kernel padded by half its size."""
    return -(-side // stride)
