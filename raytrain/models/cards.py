"""The rows of the papers' tables, with the figures as printed, and the network that each of them is.

Swin: Liu et al. 2021, Table 1 (its second version). CBAM: Woo et al. 2018, the main ImageNet table and the ablations
of ResNet50 (Tables 1 to 3). What they call FLOPs are multiply-adds of convolutions and matrix products.
Sizes and FLOPs are held against our own counts; accuracies and errors were typed in without the papers at hand.
"""

from decimal import Decimal

from data_shards.shardset import Value
from raytrain.models.named import named

SWIN, CBAM = "Swin (Liu et al. 2021)", "CBAM (Woo et al. 2018)"


class Card(Value):
    """One published row. Figures keep their printed digits; None is what the paper does not print.

    top1        percent, or with `error` the error in percent
    top5        the error, which only CBAM prints
    why         of a figure that cannot be met: the reason
    """

    name: str
    model: str
    image_size: int
    paper: str
    table: str
    row: str
    params_m: Decimal | None
    gflops: Decimal | None
    top1: Decimal | None
    error: bool = False
    top5: Decimal | None = None
    why_params: str = ""
    why_gflops: str = ""
    note: str = ""


def cards() -> dict[str, Card]:
    """Every row by name, in the papers' order: 19 of Swin's table, 24 of CBAM's, 10 of its ablations."""
    return {card.name: card for card in (*_swin_rows(), *_cbam_rows(), *_ablation_rows())}


AVERAGED = "counted without class token, with the mean over patches: with one the FLOPs are higher"
NOT_L16 = "no ViT-L/16 has 307 M; ViT-L/32 has 306.6 M at 384 px, so it may be quoted from there"
REGIME = "16 is the name of the regime; these widths and depths count 15.9"
MORE_THAN_PRODUCTS = (
    "it seems to count more than products: 3 operations per convolution's output added, ours meet both cells"
)
SWIN_T = "29 should read 28: the paper's own repository says 28M"
REPOSITORY = "the repository of the paper prints 47.1"

_SWIN = """
Table 1 (a), ImageNet-1K | RegNetY-4G | regnet_y_4g | 224 | 21 | 4.0 | 80.0
Table 1 (a), ImageNet-1K | RegNetY-8G | regnet_y_8g | 224 | 39 | 8.0 | 81.7
Table 1 (a), ImageNet-1K | RegNetY-16G | regnet_y_16g | 224 | 84 | 16.0 | 82.9
Table 1 (a), ImageNet-1K | ViT-B/16 | vit_b_16_384_gap | 384 | 86 | 55.4 | 77.9
Table 1 (a), ImageNet-1K | ViT-L/16 | vit_l_16_384_gap | 384 | 307 | 190.7 | 76.5
Table 1 (a), ImageNet-1K | DeiT-S | deit_s_gap | 224 | 22 | 4.6 | 79.8
Table 1 (a), ImageNet-1K | DeiT-B | deit_b_gap | 224 | 86 | 17.5 | 81.8
Table 1 (a), ImageNet-1K | DeiT-B | deit_b_384_gap | 384 | 86 | 55.4 | 83.1
Table 1 (a), ImageNet-1K | Swin-T | swin_t | 224 | 29 | 4.5 | 81.3
Table 1 (a), ImageNet-1K | Swin-S | swin_s | 224 | 50 | 8.7 | 83.0
Table 1 (a), ImageNet-1K | Swin-B | swin_b | 224 | 88 | 15.4 | 83.5
Table 1 (a), ImageNet-1K | Swin-B | swin_b_384 | 384 | 88 | 47.0 | 84.5
Table 1 (b), ImageNet-22K first | R-101x3 | bit_r101x3 | 384 | 388 | 204.6 | 84.4
Table 1 (b), ImageNet-22K first | R-152x4 | bit_r152x4 | 480 | 937 | 840.5 | 85.4
Table 1 (b), ImageNet-22K first | ViT-B/16 | vit_b_16_384_gap | 384 | 86 | 55.4 | 84.0
Table 1 (b), ImageNet-22K first | ViT-L/16 | vit_l_16_384_gap | 384 | 307 | 190.7 | 85.2
Table 1 (b), ImageNet-22K first | Swin-B | swin_b | 224 | 88 | 15.4 | 85.2
Table 1 (b), ImageNet-22K first | Swin-B | swin_b_384 | 384 | 88 | 47.0 | 86.4
Table 1 (b), ImageNet-22K first | Swin-L | swin_l_384 | 384 | 197 | 103.9 | 87.3
"""
_WHY_PARAMS = {"swin_t": SWIN_T, "vit_l_16_384_gap": NOT_L16}
_WHY_GFLOPS = {
    "regnet_y_16g": REGIME,
    "bit_r101x3": MORE_THAN_PRODUCTS,
    "bit_r152x4": MORE_THAN_PRODUCTS,
}

V1 = "stride on the first 1x1, as the paper's FLOPs need; released weights have it on the 3x3"
BAM = (
    "the main table prints 28.09 M and 3.860 G beside the same errors of SE. 25.92 M and 3.94 G are those of ResNet50 "
    "with BAM, the authors' other module (25.915 M, 3.940 G by our count), and 4.02 G adds its 0.08 G again"
)
TOO_FEW = (
    "3.862 is less than its channel gate alone takes (3.863); the kernels of 3 and 7 are 0.0006 G apart and not 0.007. "
    "The paper's Table 2 was not at hand to check the digits"
)

_CBAM = """
resnet18 | ResNet18 | 11.69 1.814 29.60 10.55 | 11.78 1.814 29.41 10.22 | 11.78 1.815 29.27 10.09
resnet34 | ResNet34 | 21.80 3.664 26.69 8.60 | 21.96 3.664 26.13 8.35 | 21.96 3.665 25.99 8.24
resnet50_v1 | ResNet50 | 25.56 3.858 24.56 7.50 | 28.09 3.860 23.14 6.70 | 28.09 3.864 22.66 6.31
resnet101_v1 | ResNet101 | 44.55 7.570 23.38 6.88 | 49.33 7.575 22.35 6.19 | 49.33 7.581 21.51 5.69
wide_resnet18_1_5 | WideResNet18 x1.5 | 25.88 3.866 26.85 8.88 | 26.07 3.867 26.21 8.47 | 26.08 3.868 26.10 8.43
wide_resnet18_2_0 | WideResNet18 x2.0 | 45.62 6.696 25.63 8.20 | 45.97 6.696 24.93 7.65 | 45.97 6.697 24.84 7.63
resnext50_32x4d_v1 | ResNeXt50 32x4d | 25.03 3.768 22.85 6.48 | 27.56 3.771 21.91 6.04 | 27.56 3.774 21.92 5.91
resnext101_32x4d_v1 | ResNeXt101 32x4d | 44.18 7.508 21.54 5.75 | 48.96 7.512 21.17 5.66 | 48.96 7.519 21.07 5.59
"""
_ABLATIONS = """
Table 1, channel pools | average (SE) | resnet50_v1_se | 25.92 | 3.94 | 23.14 | 6.70
Table 1, channel pools | maximum | resnet50_v1_channel_max | 25.92 | 3.94 | 23.20 | 6.83
Table 1, channel pools | average and maximum | resnet50_v1_channel | 25.92 | 4.02 | 22.80 | 6.52
Table 2, spatial gate | 1x1 conv, k = 3 | resnet50_v1_cbam_conv_k3 | 28.10 | 3.862 | 22.96 | 6.64
Table 2, spatial gate | 1x1 conv, k = 7 | resnet50_v1_cbam_conv_k7 | 28.10 | 3.869 | 22.90 | 6.47
Table 2, spatial gate | avg and max, k = 3 | resnet50_v1_cbam_k3 | 28.09 | 3.863 | 22.68 | 6.41
Table 2, spatial gate | avg and max, k = 7 | resnet50_v1_cbam | 28.09 | 3.864 | 22.66 | 6.31
Table 3, arrangement | channel, then spatial | resnet50_v1_cbam | - | - | 22.66 | 6.31
Table 3, arrangement | spatial, then channel | resnet50_v1_spatial_channel | - | - | 22.78 | 6.42
Table 3, arrangement | both in parallel | resnet50_v1_parallel | - | - | 22.95 | 6.59
"""


def _cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")] for line in text.strip().splitlines()]


def _figure(text: str) -> Decimal | None:
    return None if text == "-" else Decimal(text)


def _swin_rows() -> list[Card]:
    rows = []
    for table, row, model, size, params, gflops, top1 in _cells(_SWIN):
        rows.append(
            Card(
                name=f"{model}_22k" if "22K" in table else model,
                model=model,
                image_size=int(size),
                paper=SWIN,
                table=table,
                row=f"{row} {size}",
                params_m=_figure(params),
                gflops=_figure(gflops),
                top1=_figure(top1),
                why_params=_WHY_PARAMS.get(model, ""),
                why_gflops=_WHY_GFLOPS.get(model, ""),
                note=AVERAGED if model.endswith("_gap") else REPOSITORY if model == "swin_b_384" else "",
            )
        )
    return rows


def _cbam_rows() -> list[Card]:
    rows = []
    for model, row, *printed in _cells(_CBAM):
        for attention, figures in zip(("", "_se", "_cbam"), printed, strict=True):
            params, gflops, top1, top5 = map(Decimal, figures.split())
            rows.append(
                Card(
                    name=model + attention,
                    model=model + attention,
                    image_size=224,
                    paper=CBAM,
                    table="ImageNet-1K",
                    row=row + attention.upper().replace("_", " + "),
                    params_m=params,
                    gflops=gflops,
                    top1=top1,
                    error=True,
                    top5=top5,
                    note=V1 if "_v1" in model else "",
                )
            )
    return rows


def _ablation_rows() -> list[Card]:
    rows = []
    for table, row, model, params, gflops, top1, top5 in _cells(_ABLATIONS):
        channel = table.startswith("Table 1")
        rows.append(
            Card(
                name=f"{model}, {table.split(',')[0].lower()}",
                model=model,
                image_size=224,
                paper=CBAM,
                table=table,
                row=row,
                params_m=_figure(params),
                gflops=_figure(gflops),
                top1=_figure(top1),
                error=True,
                top5=_figure(top5),
                why_params=BAM if channel else "",
                why_gflops=BAM if channel else TOO_FEW if model.endswith("conv_k3") else "",
                note=V1,
            )
        )
    return rows


def model_cards(name: str) -> list[Card]:
    """The rows that a network is, of any table. Raises UsageError, suggesting the nearest, for an unknown one."""
    named(name)
    return [card for card in cards().values() if card.model == name]
