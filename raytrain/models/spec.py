"""What a network is, as pure data. `arithmetic.py` counts it, `build.py` makes it; no torch here.

Swin: Liu et al. 2021, Table 7 (microsoft/Swin-Transformer configs/swin/*.yaml).
ResNet, ResNeXt and their attention: Woo et al. 2018 (Jongchan/attention-module), He et al. 2016, Xie et al. 2017.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, FiniteFloat, PositiveInt, model_validator

from data_shards.shardset import Value

Probability = Annotated[float, Field(ge=0, lt=1)]
Depths = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class SwinSpec(Value):
    """A Swin transformer. Stage i has `depths[i]` blocks of width `embed_dim * 2**i` and width / head_dim heads."""

    family: Literal["swin"] = "swin"
    embed_dim: PositiveInt = 96
    depths: Depths = (2, 2, 6, 2)
    head_dim: PositiveInt = 32
    patch: PositiveInt = 4
    window: PositiveInt = 7
    mlp_ratio: FiniteFloat = Field(4.0, gt=0)
    drop_path: Probability = 0.2

    @model_validator(mode="after")
    def _whole_heads(self) -> Self:
        if self.embed_dim % self.head_dim:
            raise ValueError(f"embed_dim {self.embed_dim} is not a multiple of head_dim {self.head_dim}")
        if sum(self.depths) < 2:
            raise ValueError("depths sum to 1; drop path grows over the blocks and needs at least 2")
        return self

    @property
    def widths(self) -> tuple[int, ...]:
        """The width of each stage."""
        return tuple(self.embed_dim * 2**stage for stage in range(len(self.depths)))

    @property
    def stride(self) -> int:
        """Pixels per token of the last stage, along one side."""
        return int(self.patch * 2 ** (len(self.depths) - 1))


class ResNetSpec(Value):
    """A ResNet, WideResNet or ResNeXt with an attention slot after the last norm of each residual branch.

    `widen` scales the blocks only, never the stem (WideResNet18 x1.5 of the CBAM paper). `stride_in_1x1` puts
    the stride where the papers' FLOPs have it; the default is where released weights have it (torchvision's V1.5).
    """

    family: Literal["resnet"] = "resnet"
    block: Literal["basic", "bottleneck"] = "bottleneck"
    depths: Depths = (3, 4, 6, 3)
    stem_width: PositiveInt = 64
    widen: FiniteFloat = Field(1.0, gt=0)
    groups: PositiveInt = 1
    width_per_group: PositiveInt = 64
    stride_in_1x1: bool = False
    attention: Literal["none", "se", "cbam"] = "none"
    reduction: PositiveInt = 16
    spatial_kernel: Literal[3, 7] = 7
    drop_path: Probability = 0.0

    @model_validator(mode="after")
    def _whole_groups(self) -> Self:
        if self.block == "basic" and (self.groups, self.width_per_group) != (1, 64):
            raise ValueError(
                "groups and width_per_group belong to the bottleneck block; use block='bottleneck'"
            )
        if self.inner_width(self.planes[0]) < self.groups:
            raise ValueError(
                f"width_per_group {self.width_per_group} leaves stage 1 ({self.planes[0]} planes) no channels"
            )
        return self

    @property
    def planes(self) -> tuple[int, ...]:
        """The base width of each stage; a stage's output is `planes * expansion`."""
        return tuple(int(self.stem_width * 2**stage * self.widen) for stage in range(len(self.depths)))

    @property
    def expansion(self) -> int:
        """How much wider a block's output is than its planes."""
        return 1 if self.block == "basic" else 4

    def inner_width(self, planes: int) -> int:
        """The width of a bottleneck's 3x3 convolution (torchvision resnet.py, Bottleneck)."""
        return int(planes * self.width_per_group / 64) * self.groups

    def squeezed(self, channels: int) -> int:
        """The hidden width of the attention's MLP, never under 4."""
        return max(4, channels // self.reduction)


ModelSpec = Annotated[SwinSpec | ResNetSpec, Field(discriminator="family")]

_SWIN: dict[str, SwinSpec] = {
    "swin_tiny_smoke": SwinSpec(embed_dim=48, depths=(2, 4), head_dim=16, patch=4, window=4, drop_path=0.05),
    "swin_t": SwinSpec(embed_dim=96, depths=(2, 2, 6, 2), drop_path=0.2),
    "swin_s": SwinSpec(embed_dim=96, depths=(2, 2, 18, 2), drop_path=0.3),
    "swin_b": SwinSpec(embed_dim=128, depths=(2, 2, 18, 2), drop_path=0.5),
    "swin_l": SwinSpec(embed_dim=192, depths=(2, 2, 18, 2), drop_path=0.2),
}


def _attention_rows(name: str, plain: ResNetSpec) -> dict[str, ResNetSpec]:
    """The paper's three rows of one network: plain, +SE, +CBAM."""
    return {
        name: plain,
        f"{name}_se": plain.model_copy(update={"attention": "se"}),
        f"{name}_cbam": plain.model_copy(update={"attention": "cbam"}),
    }


def named_specs() -> dict[str, SwinSpec | ResNetSpec]:
    """Every network by name."""
    basic = ResNetSpec(block="basic", depths=(2, 2, 2, 2))
    resnext = ResNetSpec(groups=32, width_per_group=4)
    deep = (3, 4, 23, 3)
    smoke = ResNetSpec(depths=(1, 1, 1), stem_width=32, groups=8, width_per_group=8, reduction=8)
    return {
        **_SWIN,
        **_attention_rows("resnext_tiny_smoke", smoke),
        **_attention_rows("resnet18", basic),
        **_attention_rows("resnet34", basic.model_copy(update={"depths": (3, 4, 6, 3)})),
        **_attention_rows("resnet50", ResNetSpec()),
        **_attention_rows("resnet101", ResNetSpec(depths=deep)),
        **_attention_rows("wide_resnet18_1_5", basic.model_copy(update={"widen": 1.5})),
        **_attention_rows("wide_resnet18_2_0", basic.model_copy(update={"widen": 2.0})),
        **_attention_rows("resnext50_32x4d", resnext),
        **_attention_rows("resnext101_32x4d", resnext.model_copy(update={"depths": deep})),
    }
