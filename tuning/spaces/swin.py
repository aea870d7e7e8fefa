"""Ready spaces for Swin: how much regularization, which capacity, which shape; and a small one for tests."""

from typing import Literal

from raytrain.models.named import named
from raytrain.models.spec import SwinSpec
from raytrain.recipe import Recipe
from tuning.dimension import Choice, Ladder, Range
from tuning.space import Param, Space, declare
from tuning.spaces.common import FIXED, learning_rate
from tuning.spaces.prior import (
    AUGREG_SOURCE,
    MIXING,
    ROOT_10,
    SWIN_DROP_PATH,
    SWIN_SOURCE,
    Regime,
    swin_drop_path,
    swin_size,
    swin_weight_decay,
)

TABLE_7 = "Liu et al. 2021, table 7"


def swin_regularization(recipe: Recipe, kind: Regime) -> Space:
    """Drop path, mixing and label smoothing around what was published for this Swin and this much data."""
    size = swin_size(recipe)
    mixing = Ladder(
        rungs={
            f"mixup {mixup:g}{' + cutmix' if cutmix else ''}": {
                "regularization.mixup": mixup,
                "regularization.cutmix": cutmix,
            }
            for mixup, cutmix in MIXING
        }
    )
    params = (
        Param(
            name="model.drop_path",
            paths=("model.drop_path",),
            role="scientific",
            dimension=swin_drop_path({"": SWIN_DROP_PATH[kind][size]}, by=""),
            source=f"{SWIN_SOURCE}, {size}, {kind}",
        ),
        Param(
            name="mixing",
            paths=mixing.paths,
            role="scientific",
            dimension=mixing,
            source=f"{AUGREG_SOURCE}; Swin's config.py",
        ),
        _smoothing(),
        _weight_decay(kind, "nuisance"),
        learning_rate(recipe),
    )
    return declare("swin_regularization", params, FIXED, recipe)


def swin_capacity(recipe: Recipe, kind: Regime) -> Space:
    """Swin-T, S, B or L, each with drop path around its own prior."""
    sizes = Ladder(
        rungs={
            name: {"model.embed_dim": spec.embed_dim, "model.depths": spec.depths}
            for name in SWIN_DROP_PATH[kind]
            if isinstance(spec := named(name), SwinSpec)
        }
    )
    params = (
        Param(name="capacity", paths=sizes.paths, role="scientific", dimension=sizes, source=TABLE_7),
        Param(
            name="model.drop_path",
            paths=("model.drop_path",),
            role="nuisance",
            dimension=swin_drop_path(SWIN_DROP_PATH[kind], by="capacity"),
            source=f"{SWIN_SOURCE}, {kind}; Swin-L on 1K as B (a guess)",
        ),
        _weight_decay(kind, "nuisance"),
        learning_rate(recipe),
    )
    return declare("swin_capacity", params, FIXED, recipe)


def swin_shape(recipe: Recipe, kind: Regime) -> Space:
    """Depth, width, and window with the image that it tiles, each apart."""
    depths = Ladder(
        rungs={f"{third} blocks": {"model.depths": (2, 2, third, 2)} for third in (6, 12, 18, 24)}
    )
    windows = Ladder(
        rungs={
            f"{window} at {side} px": {"model.window": window, "view.image_size": side}
            for window, side in ((7, 224), (8, 256), (12, 384))
        }
    )
    params = (
        Param(
            name="depth",
            paths=depths.paths,
            role="scientific",
            dimension=depths,
            source=f"6 and 18 in the third stage: {TABLE_7}; 12 and 24 between and beyond",
        ),
        Param(
            name="model.embed_dim",
            paths=("model.embed_dim",),
            role="scientific",
            dimension=Choice(values=(96, 128, 192)),
            source=TABLE_7,
        ),
        Param(
            name="window",
            paths=windows.paths,
            role="scientific",
            dimension=windows,
            source="configs/swin and configs/swinv2: a window and the image that it tiles",
        ),
        Param(
            name="model.drop_path",
            paths=("model.drop_path",),
            role="nuisance",
            dimension=swin_drop_path({"": SWIN_DROP_PATH[kind][swin_size(recipe)]}, by=""),
            source=f"{SWIN_SOURCE}, for the recipe's own size, {kind}",
        ),
        learning_rate(recipe),
    )
    return declare("swin_shape", params, FIXED, recipe)


def swin_smoke(recipe: Recipe, _: Regime) -> Space:
    """Three widths of the tiny Swin, drop path and the learning rate: minutes on CPUs, on the synthetic images."""
    widths = Choice(values=(32, 48, 64))
    params = (
        Param(
            name="model.embed_dim",
            paths=("model.embed_dim",),
            role="scientific",
            dimension=widths,
            source="ours",
        ),
        Param(
            name="model.drop_path",
            paths=("model.drop_path",),
            role="nuisance",
            dimension=Range(low=0.0, high=0.2),
            source="ours",
        ),
        learning_rate(recipe),
    )
    return declare("swin_smoke", params, FIXED, recipe)


def _smoothing() -> Param:
    return Param(
        name="regularization.label_smoothing",
        paths=("regularization.label_smoothing",),
        role="scientific",
        dimension=Choice(values=(0.0, 0.1)),
        source="0.1: Szegedy et al. 2016; helped a ResNet-50, not a ViT, in mlcommons/algorithmic-efficiency's logs",
    )


def _weight_decay(kind: Regime, role: Literal["scientific", "nuisance"]) -> Param:
    step = "a factor of 1000 is a guess" if kind == "fine-tune" else f"a notch is {ROOT_10:.2f}, as AugReg's"
    return Param(
        name="optimizer.weight_decay",
        paths=("optimizer.weight_decay",),
        role=role,
        dimension=swin_weight_decay(kind),
        source=f"{SWIN_SOURCE}, {kind}; {step}",
    )
