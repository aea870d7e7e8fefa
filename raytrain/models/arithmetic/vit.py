"""Counting a ViT or DeiT. Attention is torch's fused one: it keeps q, k and v, never the scores."""

from collections.abc import Iterator

from raytrain.errors import UsageError
from raytrain.models.arithmetic.layers import FP32, Layer, both, linear
from raytrain.models.spec import VitSpec


def patches(spec: VitSpec, image_size: int) -> int:
    """Patches of an image. Raises UsageError where they do not tile it."""
    if image_size % spec.patch:
        below = image_size // spec.patch * spec.patch
        sizes = " or ".join(str(size) for size in (below, below + spec.patch) if size)
        raise UsageError(
            f"image size {image_size} is not a multiple of patch {spec.patch}. "
            f"The nearest: --set view.image_size={sizes}"
        )
    return (image_size // spec.patch) ** 2


def vit(spec: VitSpec, classes: int, image_size: int, element: int) -> Iterator[Layer]:
    """Layer by layer. Raises UsageError like `patches`."""
    count, width, patch = patches(spec, image_size), spec.width, 3 * spec.patch**2
    tokens = count + spec.class_token
    positions = (tokens + spec.class_token) * width
    yield Layer(patch * width + width + positions, count * patch * width, 3 * image_size**2 * both(element))
    yield from [_block(spec, tokens, element)] * spec.depth
    yield Layer(2 * width, 0, tokens * width * FP32)
    yield linear(width, classes)


def _block(spec: VitSpec, tokens: int, element: int) -> Layer:
    """Norm, attention, norm, MLP. Kept: norms' inputs and each product's inputs."""
    width, hidden = spec.width, spec.hidden
    products = 4 * width * width + 2 * width * hidden
    learned = products + (3 + 1) * width + hidden + width + 2 * 2 * width
    inputs = 1 + 3 + 1 + 1  # of qkv; q, k and v; of proj; of the MLP
    kept = 2 * FP32 * width + inputs * element * width + 2 * element * hidden
    return Layer(learned, tokens * (products + 2 * tokens * width), tokens * kept)
