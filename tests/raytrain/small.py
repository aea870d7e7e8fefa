"""Every network's class at a size that a CPU trains in a moment: fewer blocks and channels, the same parts."""

from raytrain.models.named import named_specs
from raytrain.models.spec import BitSpec, RegNetSpec, ResNetSpec, Spec, SwinSpec, VitSpec


def small(spec: Spec) -> tuple[Spec, int]:
    """The spec shrunk, and an image size that it takes."""
    match spec:
        case SwinSpec():
            less = spec.model_copy(update={"embed_dim": spec.head_dim, "depths": (2, 2), "patch": 2})
            return less, less.stride * less.window
        case ResNetSpec():
            groups = min(spec.groups, 8)
            width = 64 if spec.groups == 1 else 16
            update = {"stem_width": 16, "depths": (1, 1), "groups": groups, "width_per_group": width}
            return spec.model_copy(update=update), 32
        case RegNetSpec():
            return spec.model_copy(update={"depths": (1, 1), "widths": (16, 32), "group_width": 8}), 32
        case VitSpec():
            return spec.model_copy(update={"width": 8 * spec.heads, "depth": 2}), 32
        case BitSpec():
            return spec.model_copy(update={"stem_width": 8, "depths": (1, 1), "norm_groups": 8}), 32


def smalls() -> dict[str, tuple[Spec, int]]:
    """By the name of the first network that shrinks to each."""
    found = dict[str, tuple[Spec, int]]()
    for name, spec in named_specs().items():
        shrunk = small(spec.model_copy(update={"drop_path": 0.0}))
        if shrunk not in found.values():
            found[name] = shrunk
    return found
