"""What a network is, as pure data. `arithmetic/` counts it, `build.py` makes it, `named.py` names it; no torch here.

Swin: Liu et al. 2021, Table 7 (microsoft/Swin-Transformer configs/swin/*.yaml).
ResNet, ResNeXt and their attention: He et al. 2016, Xie et al. 2017, Hu et al. 2018, Woo et al. 2018.
RegNetY: Radosavovic et al. 2020. ViT: Dosovitskiy et al. 2021; DeiT: Touvron et al. 2021. BiT: Kolesnikov et al. 2020.

`drop_path` is in all of them: stochastic depth (Huang et al. 2016), growing linearly from 0 at the first residual
block to this at the last.
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
    the stride where the papers' FLOPs have it ("V1"); the default is where released weights have it ("V1.5").

    Attention. `se` weighs channels by their mean. The rest is CBAM and the arrangements of its two gates that the
    paper compares: `cbam` is channel, then spatial. Each default is what the authors' code does
    (Jongchan/attention-module MODELS/cbam.py at 459efad), because the published parameter counts and weights need
    it. SE's gate obeys `reduction` and `mlp_bias` alone, the others all:

    - `mlp_bias`: the channel gate's MLP has biases. 28.09 M of ResNet50 + SE need them, the formula shows none.
    - `channel_pools`: what the MLP is run on and summed over; both is the paper's choice (its Table 1).
    - `spatial_maps`: what the spatial convolution sees. `max_avg` is the order in the code; the paper's formula
      has `avg_max`, which is the same network with the convolution's two input channels swapped. `conv` is a
      learned 1x1 convolution to one map instead (Table 2).
    - `spatial_norm`: a BatchNorm(1) after that convolution, which the formula has not.
    - `gate_start`: `half` starts that norm (without it, the convolution) at 0, so the spatial gate is 0.5
      everywhere and its convolution gets no gradient on the first step; `random` is torch's own start.
    """

    family: Literal["resnet"] = "resnet"
    block: Literal["basic", "bottleneck"] = "bottleneck"
    depths: Depths = (3, 4, 6, 3)
    stem_width: PositiveInt = 64
    widen: FiniteFloat = Field(1.0, gt=0)
    groups: PositiveInt = 1
    width_per_group: PositiveInt = 64
    stride_in_1x1: bool = False
    attention: Literal["none", "se", "channel", "spatial", "cbam", "spatial_channel", "parallel"] = "none"
    reduction: PositiveInt = 16
    mlp_bias: bool = True
    channel_pools: Literal["avg", "max", "avg_max"] = "avg_max"
    spatial_maps: Literal["max_avg", "avg_max", "conv"] = "max_avg"
    spatial_kernel: Literal[3, 7] = 7
    spatial_norm: bool = True
    gate_start: Literal["half", "random"] = "half"
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

    @property
    def has_channel_gate(self) -> bool:
        """Whether each block weighs its channels."""
        return self.attention not in ("none", "spatial")

    @property
    def has_spatial_gate(self) -> bool:
        """Whether each block weighs its places."""
        return self.attention not in ("none", "se", "channel")


class RegNetSpec(Value):
    """A RegNetY: residual bottlenecks of full width in groups of `group_width`, squeeze-and-excitation inside.

    Widths are given and not computed: torchvision's rule rounds 168 up to 224 and makes another network.
    """

    family: Literal["regnet"] = "regnet"
    depths: Depths
    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    group_width: PositiveInt
    stem_width: PositiveInt = 32
    se_ratio: FiniteFloat = Field(0.25, gt=0)
    drop_path: Probability = 0.0

    @model_validator(mode="after")
    def _whole_groups(self) -> Self:
        if len(self.depths) != len(self.widths):
            raise ValueError(
                f"{len(self.depths)} depths and {len(self.widths)} widths: one of each per stage"
            )
        odd = [width for width in self.widths if width % self.group_width]
        if odd:
            raise ValueError(f"width {odd[0]} is not a multiple of group_width {self.group_width}")
        if not self.squeezed(self.stem_width):
            raise ValueError(
                f"se_ratio {self.se_ratio:g} leaves the first gate (stem_width {self.stem_width}) no channels"
            )
        return self

    def squeezed(self, channels: int) -> int:
        """The hidden width of the squeeze-and-excitation in a block that `channels` enter."""
        return round(self.se_ratio * channels)


class VitSpec(Value):
    """A ViT or DeiT: one width and one depth over square patches, with learned positions.

    Without `class_token` the head reads the mean over the patches: so the Swin paper's FLOPs of ViT and DeiT count.
    """

    family: Literal["vit"] = "vit"
    patch: PositiveInt = 16
    width: PositiveInt
    depth: PositiveInt
    heads: PositiveInt
    mlp_ratio: FiniteFloat = Field(4.0, gt=0)
    class_token: bool = True
    drop_path: Probability = 0.0

    @model_validator(mode="after")
    def _whole_heads(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self

    @property
    def hidden(self) -> int:
        """The width inside an MLP."""
        return int(self.width * self.mlp_ratio)


class BitSpec(Value):
    """A Big Transfer network: pre-activation bottlenecks, GroupNorm, standardised weights, `widen` times as wide."""

    family: Literal["bit"] = "bit"
    depths: Depths
    widen: PositiveInt = 1
    stem_width: PositiveInt = 64
    norm_groups: PositiveInt = 32
    drop_path: Probability = 0.0

    @model_validator(mode="after")
    def _whole_groups(self) -> Self:
        if self.planes[0] % self.norm_groups:
            raise ValueError(f"{self.planes[0]} planes are not a multiple of norm_groups {self.norm_groups}")
        return self

    @property
    def planes(self) -> tuple[int, ...]:
        """The inner width of each stage; a stage's output is four times as wide."""
        return tuple(self.stem_width * self.widen * 2**stage for stage in range(len(self.depths)))


Spec = SwinSpec | ResNetSpec | RegNetSpec | VitSpec | BitSpec
ModelSpec = Annotated[Spec, Field(discriminator="family")]


def drop_rates(drop_path: float, blocks: int) -> list[float]:
    """Each residual block's rate of stochastic depth: from 0 to `drop_path`, linearly."""
    return [drop_path * block / max(1, blocks - 1) for block in range(blocks)]
