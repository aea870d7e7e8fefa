"""Smoke recipes: the full-size recipes' tiny twins. Seconds to minutes on two CPU cores, on `raytrain data synth` sets.

    raytrain data synth data/22k --space 22k && raytrain data pack data/22k --out shards/22k
    raytrain train smoke_swin_22k --data shards/22k --out runs/22k --workers 2

Nothing was published for them; `raytrain demo` shows what they reach.
"""

from data_shards.view import View
from raytrain.models.named import named
from raytrain.recipe import Optimizer, Recipe, Regularization, Schedule
from raytrain.recipes import Builder
from raytrain.settings import change

OURS = "made for this project: small enough for a CPU, same parts as the full-size recipes"


def recipes() -> dict[str, Builder]:
    """The file's recipes by name."""
    made = (
        smoke_swin_22k,
        smoke_swin_1k,
        smoke_swin_1k_scratch,
        smoke_resnext_cbam_22k,
        smoke_resnext_cbam_1k,
        smoke_resnext_cbam_1k_scratch,
    )
    return {function.__name__: function for function in made}


def smoke_swin_22k() -> Recipe:
    """Pretrain a two-stage Swin of 0.6 M parameters at 32 px: slower to learn than the tiny ResNeXt."""
    return Recipe(
        name="smoke_swin_22k",
        summary="tiny Swin, pretraining on the wide label space",
        source=OURS,
        made_for="synthetic-22k",
        model=named("swin_tiny_smoke"),
        view=View(image_size=32, min_area=0.35, eval_crop=1.0),
        epochs=8,
        global_batch=64,
        optimizer=Optimizer(lr=2e-3, lr_batch=64, weight_decay=0.05),
        schedule=Schedule(warmup_epochs=1),
        regularization=Regularization(label_smoothing=0.1, mixup=0.0, cutmix=0.0),
        precision="fp32",  # bf16 autocast is about half as fast on CPUs at this size (docs/LOG.md)
        evaluate_epochs=2,
        checkpoint_epochs=1,
    )


def smoke_swin_1k() -> Recipe:
    """Fine-tune at 48 px with window 6, the tiny twin of 224/7 to 384/12."""
    return change(
        smoke_swin_22k(),
        {
            "name": "smoke_swin_1k",
            "made_for": "synthetic-1k",
            "summary": "tiny Swin at 48 px and window 6: fine-tuning with --init",
            "model.window": 6,
            "view.image_size": 48,
            "epochs": 6,
            "optimizer.lr": 1e-3,
        },
    )


def smoke_swin_1k_scratch() -> Recipe:
    """The same budget without a checkpoint, at the learning rate that scratch training wants."""
    return change(
        smoke_swin_1k(),
        {
            "name": "smoke_swin_1k_scratch",
            "summary": "tiny Swin at 48 px and window 6, from scratch: what pretraining is held against",
            "optimizer.lr": smoke_swin_22k().optimizer.lr,
        },
    )


def smoke_resnext_cbam_22k() -> Recipe:
    """Pretrain a three-stage ResNeXt with CBAM at 32 px. AdamW: at this length SGD is 10 points behind."""
    return Recipe(
        name="smoke_resnext_cbam_22k",
        summary="tiny ResNeXt + CBAM, pretraining on the wide label space",
        source=OURS,
        made_for="synthetic-22k",
        model=named("resnext_tiny_smoke_cbam"),
        view=View(image_size=32, min_area=0.5, eval_crop=1.0),
        epochs=10,
        global_batch=64,
        optimizer=Optimizer(lr=4e-3, lr_batch=64),
        schedule=Schedule(warmup_epochs=1),
        regularization=Regularization(label_smoothing=0.1, mixup=0.0, cutmix=0.0),
        precision="fp32",
        evaluate_epochs=2,
        checkpoint_epochs=1,
    )


def smoke_resnext_cbam_1k() -> Recipe:
    """Fine-tune at 48 px, the tiny twin of 224 to 384."""
    return change(
        smoke_resnext_cbam_22k(),
        {
            "name": "smoke_resnext_cbam_1k",
            "made_for": "synthetic-1k",
            "summary": "tiny ResNeXt + CBAM at 48 px: fine-tuning with --init",
            "view.image_size": 48,
            "epochs": 12,
            "optimizer.lr": 2e-3,
            "evaluate_epochs": 3,
            "checkpoint_epochs": 3,
        },
    )


def smoke_resnext_cbam_1k_scratch() -> Recipe:
    """The same budget without a checkpoint, at the learning rate that scratch training wants."""
    return change(
        smoke_resnext_cbam_1k(),
        {
            "name": "smoke_resnext_cbam_1k_scratch",
            "summary": "tiny ResNeXt + CBAM at 48 px, from scratch: what pretraining is held against",
            "optimizer.lr": smoke_resnext_cbam_22k().optimizer.lr,
        },
    )
