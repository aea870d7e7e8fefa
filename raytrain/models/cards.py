"""The rows of the papers' model tables that this package builds, with the figures as printed.

Figures: Swin, Liu et al. 2021, Table 1; CBAM, Woo et al. 2018, the main ImageNet table. Multiply-adds are
called "FLOPs" there. Top-1 accuracies of Swin: the README of microsoft/Swin-Transformer.
"""

from decimal import Decimal

from data_shards.shardset import Value
from raytrain.models.named import named_specs
from raytrain.models.spec import ModelSpec, ResNetSpec, Spec


class Card(Value):
    """One published row. Figures keep their printed digits; `note` says where they cannot be met, and why."""

    name: str
    spec: ModelSpec
    classes: int
    image_size: int
    paper: str
    table: str
    row: str
    published_params_m: Decimal
    published_gflops: Decimal
    published_top1: Decimal | None = None
    note: str = ""


SWIN_T_NOTE = "29 should read 28: the paper's own repository says 28M, and so do we"
SWIN_B_384_NOTE = "47.0 is 47.08 truncated (the repository says 47.1)"

_SWIN = (  # name, spec, window, image size, params, GFLOPs, top-1, note
    ("swin_t_224", "swin_t", 7, 224, "29", "4.5", "81.2", SWIN_T_NOTE),
    ("swin_s_224", "swin_s", 7, 224, "50", "8.7", "83.2", ""),
    ("swin_b_224", "swin_b", 7, 224, "88", "15.4", "83.5", ""),
    ("swin_b_384", "swin_b", 12, 384, "88", "47.0", "84.5", SWIN_B_384_NOTE),
    ("swin_l_384", "swin_l", 12, 384, "197", "103.9", "87.3", "top-1 after ImageNet-22K pretraining"),
)
_CBAM = (  # name, row, then (params, GFLOPs) plain, + SE, + CBAM
    ("resnet18", "ResNet18", "11.69 1.814", "11.78 1.814", "11.78 1.815"),
    ("resnet34", "ResNet34", "21.80 3.664", "21.96 3.664", "21.96 3.665"),
    ("resnet50", "ResNet50", "25.56 3.858", "28.09 3.860", "28.09 3.864"),
    ("resnet101", "ResNet101", "44.55 7.570", "49.33 7.575", "49.33 7.581"),
    ("wide_resnet18_1_5", "WideResNet18 (widen=1.5)", "25.88 3.866", "26.07 3.867", "26.08 3.868"),
    ("wide_resnet18_2_0", "WideResNet18 (widen=2.0)", "45.62 6.696", "45.97 6.696", "45.97 6.697"),
    ("resnext50_32x4d", "ResNeXt50 (32x4d)", "25.03 3.768", "27.56 3.771", "27.56 3.774"),
    ("resnext101_32x4d", "ResNeXt101 (32x4d)", "44.18 7.508", "48.96 7.512", "48.96 7.519"),
)
V1_NOTE = "with the stride on the first 1x1, as the paper's FLOPs need; released weights have it on the 3x3"


def cards() -> dict[str, Card]:
    """Every row by name: five of Swin, 24 of CBAM."""
    return {card.name: card for card in (*_swin_cards(), *_cbam_cards())}


def _swin_cards() -> list[Card]:
    return [
        Card(
            name=name,
            spec=named_specs()[spec].model_copy(update={"window": window}),
            classes=1000,
            image_size=image_size,
            paper="Swin Transformer (Liu et al. 2021)",
            table="Table 1",
            row=f"Swin-{spec[-1].upper()} {image_size}",
            published_params_m=Decimal(params),
            published_gflops=Decimal(gflops),
            published_top1=Decimal(top1),
            note=note,
        )
        for name, spec, window, image_size, params, gflops, top1, note in _SWIN
    ]


def _cbam_cards() -> list[Card]:
    made = []
    for name, row, *figures in _CBAM:
        for attention, printed in zip(("", "_se", "_cbam"), figures, strict=True):
            spec, v1 = _stride_first(named_specs()[name + attention])
            params, gflops = printed.split()
            made.append(
                Card(
                    name=name + attention,
                    spec=spec,
                    classes=1000,
                    image_size=224,
                    paper="CBAM (Woo et al. 2018)",
                    table="ImageNet-1K classification",
                    row=row + attention.upper().replace("_", " + "),
                    published_params_m=Decimal(params),
                    published_gflops=Decimal(gflops),
                    note=V1_NOTE if v1 else "",
                )
            )
    return made


def _stride_first(spec: Spec) -> tuple[ModelSpec, bool]:
    """The spec with the stride on the first 1x1, and whether it has one."""
    bottleneck = isinstance(spec, ResNetSpec) and spec.block == "bottleneck"
    return (spec.model_copy(update={"stride_in_1x1": True}) if bottleneck else spec), bottleneck
