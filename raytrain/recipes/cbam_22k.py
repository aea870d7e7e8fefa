"""CBAM-ResNeXt on ImageNet-22K, and on 1K from there. Nothing was published of either: this is a derivation.

Two published things are put together, and nothing is tuned: the length of Swin's two stages (recipes/swin.py), and the
optimizer and augmentation of torchvision's second recipe (recipes/modern.py). Each number says which of them it is of,
or how it follows. No accuracy is expected, and none was measured.

Left out of torchvision's: repeated augmentation and 176 px, which were tuned for 600 epochs of 1K; and the average of
weights, which a fine-tune does not start from (`--init` takes the weights).
"""

from functools import partial

from data_shards.view import View
from raytrain.models.named import named
from raytrain.recipe import Optimizer, Recipe, Regularization, Schedule
from raytrain.recipes import Builder

OURS = "made for this project: the length of Swin's 22K stages, torchvision's second recipe for the rest"
DEPTHS = (50, 101)


def recipes() -> dict[str, Builder]:
    """The file's recipes by name."""
    return {
        **{f"cbam_resnext{depth}_22k_224": partial(pretrain, depth) for depth in DEPTHS},
        **{f"cbam_resnext{depth}_1k_224_from_22k": partial(finetune, depth) for depth in DEPTHS},
    }


def pretrain(depth: int) -> Recipe:
    """CBAM-ResNeXt 32x4d on ImageNet-22K, 224 px, 90 epochs.

    Source: epochs, warm-up and batch of swin_base_patch4_window7_224_22k.yaml; SGD at 0.5 per 1,024 images, weight
        decay and augmentation of torchvision's second recipe
    Theirs: none
    Ours: raytrain train NAME --data s3://bucket/imagenet-22k --out /shared/x22k --fleet h200x8
    Expected: nothing was published
    Differs: from both. 0.5 per 1,024 images is 2.0 at 4,096, by the linear rule of Goyal et al. 2017, which was tried
        up to 8,192
    """
    return Recipe(
        name=f"cbam_resnext{depth}_22k_224",
        summary="ImageNet-22K at 224 px, SGD, 90 epochs (a derivation)",
        source=OURS,
        made_for="imagenet-22k",
        model=named(f"resnext{depth}_32x4d_cbam"),
        view=View(image_size=224, interpolation="bilinear", auto_augment="trivial"),
        epochs=90,
        global_batch=4096,
        optimizer=Optimizer(name="sgd", lr=0.5, lr_batch=1024, weight_decay=2e-5, clip_norm=None),
        schedule=Schedule(warmup_epochs=5, warmup_start=0.01, end=0.0),
        regularization=Regularization(label_smoothing=0.1, mixup=0.2, cutmix=1.0, random_erasing=0.1),
        checkpoint_epochs=0.1,
    )


def finetune(depth: int) -> Recipe:
    """CBAM-ResNeXt 32x4d on ImageNet-1K at 224 px, from its 22K pretraining, 30 epochs.

    Source: epochs, warm-up and batch of swin_base_patch4_window7_224_22kto1k_finetune.yaml, and its two changes to
        Swin's pretraining: a twenty-fifth of the learning rate (4e-5 of 1e-3), weight decay 1e-8
    Theirs: none
    Ours: raytrain train NAME --data s3://bucket/imagenet-1k --out /shared/x1k --fleet h200x8 --init /shared/x22k
    Expected: nothing was published
    Differs: from both. A twenty-fifth of 0.5 per 1,024 images is 0.02
    """
    before = pretrain(depth)
    return before.model_copy(
        update={
            "name": f"cbam_resnext{depth}_1k_224_from_22k",
            "summary": "ImageNet-1K at 224 px from a 22K checkpoint (--init), SGD, 30 epochs (a derivation)",
            "made_for": "imagenet-1k",
            "epochs": 30.0,
            "global_batch": 1024,
            "optimizer": before.optimizer.model_copy(update={"lr": 0.5 / 25, "weight_decay": 1e-8}),
            "checkpoint_epochs": 1.0,
        }
    )
