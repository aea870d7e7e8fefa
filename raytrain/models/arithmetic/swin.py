"""Counting a Swin. Shapes: a stage has side x side tokens of `width`, in windows of window x window tokens."""

from collections.abc import Iterator

from raytrain.errors import UsageError
from raytrain.models.arithmetic.layers import FP32, Layer, both, linear
from raytrain.models.spec import SwinSpec


def stage_sides(spec: SwinSpec, image_size: int, field: str = "--set view.image_size") -> tuple[int, ...]:
    """Tokens along one side of each stage. `field` is where the user finds the size.

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
            f"The nearest: {field}={sizes}{windows}"
        )
    return tuple(image_size // spec.patch // 2**stage for stage in range(len(spec.depths)))


def swin(spec: SwinSpec, classes: int, image_size: int, element: int) -> Iterator[Layer]:
    """Layer by layer. Raises UsageError like `stage_sides`."""
    sides, widths = stage_sides(spec, image_size), spec.widths
    patch, embedded = 3 * spec.patch**2, sides[0] ** 2 * widths[0]
    picture = 3 * image_size**2 * both(element)
    yield Layer(patch * widths[0] + 3 * widths[0], patch * embedded, picture + embedded * FP32)
    for stage, (side, width, depth) in enumerate(zip(sides, widths, spec.depths, strict=True)):
        if stage:
            merged = side**2 * 2 * width  # four neighbours of half this width: 2 * width wide
            yield Layer(2 * width * width + 4 * width, merged * width, merged * (FP32 + element))
        yield from [_block(spec, width, side**2, element)] * depth
    yield Layer(2 * widths[-1], 0, sides[-1] ** 2 * widths[-1] * FP32)
    yield linear(widths[-1], classes)


def _block(spec: SwinSpec, width: int, tokens: int, element: int) -> Layer:
    """Norm, window attention, norm, MLP. Kept: norms' inputs; each product's inputs; the softmax."""
    heads, area, hidden = width // spec.head_dim, spec.window**2, int(width * spec.mlp_ratio)
    products = 4 * width * width + 2 * width * hidden
    learned = products + (3 + 1) * width + hidden + width + 2 * 2 * width + (2 * spec.window - 1) ** 2 * heads
    inputs = 1 + 3 + 1 + 1  # of qkv; q, k and v of the scores; of proj; of the MLP
    kept = 2 * FP32 * width + inputs * element * width + 2 * element * hidden + heads * area * both(element)
    return Layer(learned, tokens * (products + 2 * area * width), tokens * kept)
