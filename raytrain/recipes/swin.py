"""Swin's recipes, from microsoft/Swin-Transformer at f82860b: configs/swin/*.yaml over config.py.

    raytrain train swin_b_22k --data s3://bucket/imagenet-22k --out /shared/runs/b22k --fleet h200x8

Global batches are those of get_started.md. Published top-1 is the README's. AUG.AUTO_AUGMENT is
rand-m9-mstd0.5-inc1; AUG.COLOR_JITTER 0.4 has no effect there, since timm leaves it out where it auto-augments
(timm/data/transforms_factory.py).
"""

from data_shards.view import View
from raytrain.models.named import named
from raytrain.models.spec import SwinSpec
from raytrain.recipe import Optimizer, Published, Recipe, Regularization, Schedule

CONFIGS = "microsoft/Swin-Transformer configs/swin"
README = "microsoft/Swin-Transformer README.md"


def _swin(name: str, drop_path: float, **changes: object) -> SwinSpec:
    spec = named(name)
    assert isinstance(spec, SwinSpec)
    return SwinSpec.model_validate({**spec.model_dump(), "drop_path": drop_path, **changes})


def _pretrain(name: str, model: SwinSpec) -> Recipe:
    return Recipe(
        name=name,
        summary="ImageNet-22K at 224 px, 90 epochs",
        source=f"{CONFIGS}: *_22k.yaml",
        model=model,
        view=View(image_size=224, auto_augment="rand"),
        epochs=90,
        global_batch=4096,
        optimizer=Optimizer(lr=1.25e-4, weight_decay=0.05),
        schedule=Schedule(warmup_epochs=5),
        regularization=Regularization(random_erasing=0.25),
        checkpoint_epochs=0.1,
    )


def _finetune(name: str, model: SwinSpec, size: int, top1: float) -> Recipe:
    return Recipe(
        name=name,
        summary=f"ImageNet-1K at {size} px from a 22K checkpoint (--init), 30 epochs",
        source=f"{CONFIGS}: *_22kto1k_finetune.yaml",
        model=model,
        view=View(image_size=size, eval_crop=0.875 if size == 224 else 1.0, auto_augment="rand"),
        epochs=30,
        global_batch=1024,
        optimizer=Optimizer(lr=2e-5, weight_decay=1e-8),
        schedule=Schedule(warmup_epochs=5),
        regularization=Regularization(random_erasing=0.25),
        published=Published(row=f"22K to 1K, {size}", top1=top1, source=README),
    )


def _scratch(name: str, model: SwinSpec, top1: float) -> Recipe:
    return Recipe(
        name=name,
        summary="ImageNet-1K at 224 px from scratch, 300 epochs",
        source=f"{CONFIGS}: *_patch4_window7_224.yaml",
        model=model,
        view=View(image_size=224, auto_augment="rand"),
        epochs=300,
        global_batch=1024,
        optimizer=Optimizer(lr=5e-4, weight_decay=0.05),
        schedule=Schedule(warmup_epochs=20),
        regularization=Regularization(random_erasing=0.25),
        published=Published(row="1K, 224", top1=top1, source=README),
    )


def swin_b_22k() -> Recipe:
    """Swin-B, ImageNet-22K."""
    return _pretrain("swin_b_22k", _swin("swin_b", 0.2))


def swin_l_22k() -> Recipe:
    """Swin-L, ImageNet-22K."""
    return _pretrain("swin_l_22k", _swin("swin_l", 0.2))


def swin_b_22k_to_1k() -> Recipe:
    """Swin-B, 22K to 1K at 224."""
    return _finetune("swin_b_22k_to_1k", _swin("swin_b", 0.2), 224, 85.2)


def swin_l_22k_to_1k() -> Recipe:
    """Swin-L, 22K to 1K at 224."""
    return _finetune("swin_l_22k_to_1k", _swin("swin_l", 0.2), 224, 86.3)


def swin_b_22k_to_1k_384() -> Recipe:
    """Swin-B, 22K to 1K at 384 with window 12."""
    return _finetune("swin_b_22k_to_1k_384", _swin("swin_b", 0.2, window=12), 384, 86.4)


def swin_l_22k_to_1k_384() -> Recipe:
    """Swin-L, 22K to 1K at 384 with window 12."""
    return _finetune("swin_l_22k_to_1k_384", _swin("swin_l", 0.2, window=12), 384, 87.3)


def swin_t_1k() -> Recipe:
    """Swin-T, 1K from scratch."""
    return _scratch("swin_t_1k", _swin("swin_t", 0.2), 81.2)


def swin_s_1k() -> Recipe:
    """Swin-S, 1K from scratch."""
    return _scratch("swin_s_1k", _swin("swin_s", 0.3), 83.2)


def swin_b_1k() -> Recipe:
    """Swin-B, 1K from scratch."""
    return _scratch("swin_b_1k", _swin("swin_b", 0.5), 83.5)
