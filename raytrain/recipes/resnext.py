"""CBAM-ResNeXt on ImageNet-1K, after Jongchan/attention-module at 459efad (train_imagenet.py, README).

    raytrain train resnext50_cbam_1k --data s3://bucket/imagenet-1k --out /shared/runs/x50 --fleet h200x8

The repository trains ResNets only: that the paper's ResNeXts were trained the same way is assumed, so its error rates
are what these are held against, not what is promised.
"""

from data_shards.view import View
from raytrain.models.named import named
from raytrain.recipe import Optimizer, Published, Recipe, Regularization, Schedule


def _cbam(name: str, model: str, error: float) -> Recipe:
    return Recipe(
        name=name,
        summary="ImageNet-1K at 224 px, SGD, 100 epochs, crops and flips only",
        source="Jongchan/attention-module train_imagenet.py and README (lr 0.1, / 10 every 30 epochs, batch 256)",
        model=named(model),
        view=View(image_size=224, interpolation="bilinear"),
        epochs=100,
        global_batch=256,
        optimizer=Optimizer(
            name="sgd", lr=0.1, lr_batch=256, weight_decay=1e-4, decay_all=True, clip_norm=None
        ),
        schedule=Schedule(shape="step", warmup_epochs=0, step_epochs=30, step_factor=0.1),
        regularization=Regularization(label_smoothing=0.0, mixup=0.0, cutmix=0.0),
        published=Published(row=f"{model}, main table", top1=100 - error, source="Woo et al. 2018 (CBAM)"),
    )


def resnext50_cbam_1k() -> Recipe:
    """ResNeXt50 32x4d + CBAM: 21.92 % top-1 error in the paper."""
    return _cbam("resnext50_cbam_1k", "resnext50_32x4d_cbam", 21.92)


def resnext101_cbam_1k() -> Recipe:
    """ResNeXt101 32x4d + CBAM: 21.07 % top-1 error in the paper."""
    return _cbam("resnext101_cbam_1k", "resnext101_32x4d_cbam", 21.07)
