"""Training speeds that were measured: what share of a GPU's arithmetic a network is assumed to reach (its MFU).

Those of the H200 are ours (benchmarks/RESULTS.md, "A training step"): DeepSpeed's engine, or compiled in plain torch,
without loader. The others are of huggingface/pytorch-image-models at 5e7d47c,
results/benchmark-train-amp-nhwc-pt112-cu113-rtx3090.csv: fp16 autocast, channels last, torch 1.12, no loader. Peaks
are the data sheets', dense: RTX 3090 71 TFLOP/s in fp16 with fp32 sums (NVIDIA GA102 white paper), V100 125, H200
989.4 in bf16.
"""

import math
from functools import cache
from typing import NamedTuple

from raytrain.models.arithmetic import forward_macs
from raytrain.models.named import named, named_specs
from raytrain.models.spec import ModelSpec, ResNetSpec

TIMM, SWIN_68, OURS = "timm's results", "microsoft/Swin-Transformer#68", "benchmarks/RESULTS.md"


class Speed(NamedTuple):
    """Images per second in training, of a network on one GPU."""

    model: str
    image_size: int
    images_per_second: float
    gpu: str = "RTX 3090"
    peak_tflops: float = 71
    source: str = TIMM
    compiled: bool = False

    @property
    def macs(self) -> int:
        """Multiply-adds of an image, forward."""
        return _macs(self.model, self.image_size)

    @property
    def mfu(self) -> float:
        """3 forward passes of 2 operations a multiply-add, over the peak."""
        return 6 * self.macs * self.images_per_second / (self.peak_tflops * 1e12)


@cache
def _macs(model: str, image_size: int) -> int:
    return forward_macs(named(model), 1000, image_size)


SPEEDS = (
    Speed("swin_t", 224, 648.69),
    Speed("swin_s", 224, 400.37),
    Speed("swin_b", 224, 281.0),
    Speed("swin_l", 224, 153.79),
    Speed("swin_b_384", 384, 74.73),
    Speed("swin_l_384", 384, 41.75),
    Speed("deit_s", 224, 1050.7),
    Speed("deit_b", 224, 390.04),
    Speed("deit_b_384", 384, 97.3),
    Speed("resnet18", 224, 3481.78),
    Speed("resnet34", 224, 2036.51),
    Speed("resnet50", 224, 1218.01),
    Speed("resnet101", 224, 747.89),
    Speed("resnet50_se", 224, 971.79),
    Speed("resnet101_se", 224, 590.42),
    Speed("resnext50_32x4d", 224, 1001.03),
    Speed("resnext101_32x4d", 224, 609.01),
    Speed("resnext50_32x4d_se", 224, 814.69),
    Speed("resnext101_32x4d_se", 224, 479.03),
    Speed("regnet_y_4g", 224, 190.14),
    Speed("regnet_y_8g", 224, 117.88),
    Speed("regnet_y_16g", 224, 83.24),
    Speed("bit_r101x3", 448, 18.05),
    Speed("bit_r152x4", 480, 4.89),
    Speed("swin_b", 224, 886.43, "H200", 989.4, OURS),
    Speed("swin_b", 224, 1826.6, "H200", 989.4, OURS, compiled=True),
)

OTHER_GPU = Speed("swin_b", 224, 1_281_167 / (12 * 60) / 16, "V100", 125, SWIN_68)
"""An author of Swin: about 12 minutes an epoch of ImageNet-1K on 16 GPUs. How far another GPU may be from the table."""


def nearest_speed(spec: ModelSpec, macs: int, peak_tflops: float, *, compiled: bool) -> Speed:
    """That of the same family: on the GPU whose peak is the nearest, compiled or not where both are known there.

    Then of ResNets as gated and as grouped; then whose forward pass is the nearest in size.
    """
    specs = named_specs()

    def distance(speed: Speed) -> tuple[float, bool, bool, bool, float]:
        other, unlike = specs[speed.model], (False, False)
        if isinstance(spec, ResNetSpec) and isinstance(other, ResNetSpec):
            unlike = (_gated(spec) != _gated(other), (spec.groups > 1) != (other.groups > 1))
        far = abs(speed.peak_tflops - peak_tflops)
        return far, speed.compiled != compiled, *unlike, abs(math.log(macs / speed.macs))

    return min((speed for speed in SPEEDS if specs[speed.model].family == spec.family), key=distance)


def _gated(spec: ResNetSpec) -> bool:
    return spec.has_channel_gate or spec.has_spatial_gate
