"""Every network by name: the one list. A card (cards.py) says what was published of each.

`_v1` has the stride on the first 1x1, as the CBAM paper's FLOPs need; without it the stride is on the 3x3, as in
released weights. `_gap` is without class token, as the Swin paper counts ViT and DeiT. `smoke` networks are ours.
"""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from raytrain.errors import UsageError, nearest
from raytrain.models.spec import BitSpec, RegNetSpec, ResNetSpec, Spec, SwinSpec, VitSpec

DEEP = (3, 4, 23, 3)


@cache
def named_specs() -> Mapping[str, Spec]:
    """Every network by name."""
    return MappingProxyType(
        {**_smoke(), **_swins(), **_resnets(), **_ablations(), **_regnets(), **_vits(), **_bits()}
    )


def named(name: str) -> Spec:
    """The network of that name. Raises UsageError, suggesting the nearest, for an unknown one."""
    specs = named_specs()
    if name not in specs:
        raise UsageError(f"unknown model '{name}'{nearest(name, specs)}. All: raytrain models")
    return specs[name]


def native_size(name: str) -> int:
    """The image size that a named network is counted at: its table's, or what its recipes use. Pixels."""
    if "smoke" in name:
        return 32
    if name == "bit_r152x4":
        return 480
    return 384 if name.endswith(("_384", "_384_gap", "bit_r101x3")) else 224


def counted_as(name: str) -> str | None:
    """The network that the papers count in this one's place, if another; see `_v1` and `_gap` above."""
    specs = named_specs()
    spec = specs[name]
    changes = {"resnet": {"stride_in_1x1": True}, "vit": {"class_token": False}}.get(spec.family)
    if changes is None:
        return None
    base, suffix = next(
        ((name.removesuffix(end), end) for end in ("_se", "_cbam") if name.endswith(end)), (name, "")
    )
    other = f"{name}_gap" if spec.family == "vit" else f"{base}_v1{suffix}"
    return other if specs.get(other) == spec.model_copy(update=changes) else None


def _smoke() -> dict[str, Spec]:
    resnext = ResNetSpec(depths=(1, 1, 1), stem_width=32, groups=8, width_per_group=8, reduction=8)
    return {
        "swin_tiny_smoke": SwinSpec(embed_dim=48, depths=(2, 4), head_dim=16, window=4, drop_path=0.05),
        **_attention_rows("resnext_tiny_smoke", resnext),
    }


def _swins() -> dict[str, Spec]:
    """Drop path as published for ImageNet-1K from scratch; for L, which has no such run, for ImageNet-22K."""
    deep = (2, 2, 18, 2)
    base = SwinSpec(embed_dim=128, depths=deep, drop_path=0.5)
    large = SwinSpec(embed_dim=192, depths=deep, drop_path=0.2)
    return {
        "swin_t": SwinSpec(drop_path=0.2),
        "swin_s": SwinSpec(depths=deep, drop_path=0.3),
        "swin_b": base,
        "swin_l": large,
        "swin_b_384": base.model_copy(update={"window": 12}),
        "swin_l_384": large.model_copy(update={"window": 12}),
    }


def _resnets() -> dict[str, Spec]:
    """The CBAM paper's networks. Those of basic blocks have no 1x1 and so only one place for the stride."""
    basic = ResNetSpec(block="basic", depths=(2, 2, 2, 2))
    resnext = ResNetSpec(groups=32, width_per_group=4)
    specs = {
        **_attention_rows("resnet18", basic),
        **_attention_rows("resnet34", basic.model_copy(update={"depths": (3, 4, 6, 3)})),
        **_attention_rows("wide_resnet18_1_5", basic.model_copy(update={"widen": 1.5})),
        **_attention_rows("wide_resnet18_2_0", basic.model_copy(update={"widen": 2.0})),
    }
    bottlenecks = {
        "resnet50": ResNetSpec(),
        "resnet101": ResNetSpec(depths=DEEP),
        "resnext50_32x4d": resnext,
        "resnext101_32x4d": resnext.model_copy(update={"depths": DEEP}),
    }
    for name, spec in bottlenecks.items():
        specs |= _attention_rows(name, spec)
        specs |= _attention_rows(f"{name}_v1", spec.model_copy(update={"stride_in_1x1": True}))
    return dict(specs)


def _attention_rows(name: str, plain: ResNetSpec) -> dict[str, Spec]:
    """The paper's three rows of one network: plain, +SE, +CBAM."""
    return {
        name: plain,
        f"{name}_se": plain.model_copy(update={"attention": "se"}),
        f"{name}_cbam": plain.model_copy(update={"attention": "cbam"}),
    }


def _ablations() -> dict[str, Spec]:
    """ResNet50 as in the CBAM paper's Tables 1 to 3: channel gates, spatial gates, arrangements."""
    cbam = ResNetSpec(stride_in_1x1=True, attention="cbam")
    variants: dict[str, dict[str, object]] = {
        "channel_max": {"attention": "channel", "channel_pools": "max"},
        "channel": {"attention": "channel"},
        "cbam_conv_k3": {"spatial_maps": "conv", "spatial_kernel": 3},
        "cbam_conv_k7": {"spatial_maps": "conv"},
        "cbam_k3": {"spatial_kernel": 3},
        "spatial_channel": {"attention": "spatial_channel"},
        "parallel": {"attention": "parallel"},
    }
    return {f"resnet50_v1_{name}": cbam.model_copy(update=changes) for name, changes in variants.items()}


def _regnets() -> dict[str, Spec]:
    """Widths of the paper's networks (Radosavovic et al. 2020, appendix), as timm's regnety_040, _080 and _160."""
    return {
        "regnet_y_4g": RegNetSpec(depths=(2, 6, 12, 2), widths=(128, 192, 512, 1088), group_width=64),
        "regnet_y_8g": RegNetSpec(depths=(2, 4, 10, 1), widths=(168, 448, 896, 2016), group_width=56),
        "regnet_y_16g": RegNetSpec(depths=(2, 4, 11, 1), widths=(224, 448, 1232, 3024), group_width=112),
    }


def _vits() -> dict[str, Spec]:
    """ViT-B is DeiT-B; they differ in how they were trained (drop path 0.1 in DeiT's main.py)."""
    base = VitSpec(width=768, depth=12, heads=12)
    large = VitSpec(width=1024, depth=24, heads=16)
    small = VitSpec(width=384, depth=12, heads=6, drop_path=0.1)
    deit_b = base.model_copy(update={"drop_path": 0.1})
    tokens = {
        "vit_b_16": base,
        "vit_b_16_384": base,
        "vit_l_16": large,
        "vit_l_16_384": large,
        "deit_s": small,
        "deit_b": deit_b,
        "deit_b_384": deit_b,
    }
    means = {f"{name}_gap": spec.model_copy(update={"class_token": False}) for name, spec in tokens.items()}
    return {**tokens, **means}


def _bits() -> dict[str, Spec]:
    return {
        "bit_r101x3": BitSpec(depths=DEEP, widen=3),
        "bit_r152x4": BitSpec(depths=(3, 8, 36, 3), widen=4),
    }
