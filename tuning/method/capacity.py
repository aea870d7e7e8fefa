"""The next larger network of a family: the published ladder where the network stands on it, else a wider one.

A rung brings the drop path that was published for it: what a larger network was never trained without is no other
change. Whatever the recipe has above or below its own rung's stays.
"""

from math import ceil

from raytrain.models.named import named
from raytrain.models.spec import BitSpec, RegNetSpec, ResNetSpec, Spec, SwinSpec, VitSpec
from tuning.dimension import Settings
from tuning.spaces.prior import SWIN_DROP_PATH, Regime

WIDER = 1.5  # about twice the multiply-adds

RESNET_DEPTHS = {  # He et al. 2016, table 1
    "basic": ((2, 2, 2, 2), (3, 4, 6, 3)),
    "bottleneck": ((3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3)),
}


def larger(spec: Spec, kind: Regime) -> tuple[str, Settings]:
    """What the larger network is called, and what a recipe has to set for it; ("", {}) where there is none."""
    match spec:
        case SwinSpec():
            return _swin(spec, kind)
        case ResNetSpec():
            ladder = RESNET_DEPTHS[spec.block]
            if spec.depths in ladder[:-1]:
                depths = ladder[ladder.index(spec.depths) + 1]
                return f"{3 * sum(depths) + 2} layers" if spec.block == "bottleneck" else (
                    f"{2 * sum(depths) + 2} layers"
                ), {"model.depths": depths}
            return f"{WIDER:g} x as wide", {"model.widen": spec.widen * WIDER}
        case RegNetSpec():
            widths = tuple(spec.group_width * ceil(WIDER * w / spec.group_width) for w in spec.widths)
            return f"{WIDER:g} x as wide", {"model.widths": widths}
        case VitSpec():
            return _vit(spec)
        case BitSpec():
            return f"width x {spec.widen + 1}", {"model.widen": spec.widen + 1}


def _swin(spec: SwinSpec, kind: Regime) -> tuple[str, Settings]:
    """T, S, B, L; of others, half as many heads again. L is the last that was published."""
    names = list(SWIN_DROP_PATH[kind])
    ladder = [rung for name in names if isinstance(rung := named(name), SwinSpec)]
    sizes = [(rung.embed_dim, rung.depths) for rung in ladder]
    if (spec.embed_dim, spec.depths) not in sizes:
        width = spec.head_dim * ceil(WIDER * spec.embed_dim / spec.head_dim)
        return f"{width} wide", {"model.embed_dim": width}
    at = sizes.index((spec.embed_dim, spec.depths))
    if at == len(sizes) - 1:
        return "", {}
    prior = SWIN_DROP_PATH[kind]
    drop_path = max(0.0, round(spec.drop_path + prior[names[at + 1]] - prior[names[at]], 6))
    width, depths = sizes[at + 1]
    return names[at + 1], {
        "model.embed_dim": width,
        "model.depths": depths,
        "model.drop_path": drop_path,
    }


def _vit(spec: VitSpec) -> tuple[str, Settings]:
    """S, B, L; of others, half as many heads again."""
    names = ("deit_s", "vit_b_16", "vit_l_16")
    ladder = [rung for name in names if isinstance(rung := named(name), VitSpec)]
    sizes = [(rung.width, rung.depth, rung.heads) for rung in ladder]
    own = (spec.width, spec.depth, spec.heads)
    if own == sizes[-1]:
        return "", {}
    if own in sizes:
        width, depth, heads = sizes[sizes.index(own) + 1]
        return names[sizes.index(own) + 1], {
            "model.width": width,
            "model.depth": depth,
            "model.heads": heads,
        }
    heads = ceil(WIDER * spec.heads)
    return f"{heads} heads", {"model.width": spec.width // spec.heads * heads, "model.heads": heads}
