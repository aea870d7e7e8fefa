"""Ready spaces for ResNet, ResNeXt and CBAM: how much regularization, capacity, attention; and a small one."""

from raytrain.recipe import Recipe
from tuning.dimension import Choice, Ladder, Offset, Range
from tuning.space import Param, Space, declare
from tuning.spaces.common import FIXED, learning_rate
from tuning.spaces.prior import AUGREG_SOURCE, RESNET_WEIGHT_DECAY, ROOT_10, Regime, augreg_levels

WITH_CHANNELS = ("se", "channel", "cbam", "spatial_channel", "parallel")
WITH_PLACES = ("spatial", "cbam", "spatial_channel", "parallel")


def cbam_regularization(recipe: Recipe, kind: Regime) -> Space:
    """Augmentation, drop path and label smoothing upwards from the published recipe, which has none of them."""
    levels = Ladder(rungs=augreg_levels(recipe, kind))
    params = (
        Param(
            name="augmentation",
            paths=levels.paths,
            role="scientific",
            dimension=levels,
            source="none: train_imagenet.py of CBAM; to one level above AugReg's for a ViT of as many parameters and "
            f"this much data, magnitudes cut at 10: {AUGREG_SOURCE}",
        ),
        Param(
            name="model.drop_path",
            paths=("model.drop_path",),
            role="scientific",
            dimension=Offset(prior={"": 0.0}, notch=0.1, low=0, high=2),
            source="none was published; tenths, as Swin's are",
        ),
        Param(
            name="regularization.label_smoothing",
            paths=("regularization.label_smoothing",),
            role="scientific",
            dimension=Choice(values=(0.0, 0.1)),
            source="0.1: Szegedy et al. 2016; it helped a ResNet-50 in mlcommons/algorithmic-efficiency's logs",
        ),
        _weight_decay(recipe),
        learning_rate(recipe),
    )
    return declare("cbam_regularization", params, FIXED, recipe)


def cbam_capacity(recipe: Recipe, _: Regime) -> Space:
    """Depth, cardinality at about equal cost (of bottlenecks), and width."""
    depths = Ladder(
        rungs={"50": {"model.depths": (3, 4, 6, 3)}, "101": {"model.depths": (3, 4, 23, 3)}}
        | {"152": {"model.depths": (3, 8, 36, 3)}}
    )
    basic = Ladder(rungs={"18": {"model.depths": (2, 2, 2, 2)}, "34": {"model.depths": (3, 4, 6, 3)}})
    cardinalities = Ladder(
        rungs={
            f"{groups}x{width}d": {"model.groups": groups, "model.width_per_group": width}
            for groups, width in ((1, 64), (2, 40), (4, 24), (8, 14), (32, 4))
        }
    )
    params = (
        Param(
            name="depth",
            paths=depths.paths,
            role="scientific",
            dimension=depths,
            when={"model.block": ("bottleneck",)},
            source="He et al. 2016, table 1",
        ),
        Param(
            name="depth of basic blocks",
            paths=basic.paths,
            role="scientific",
            dimension=basic,
            when={"model.block": ("basic",)},
            source="He et al. 2016, table 1",
        ),
        Param(
            name="cardinality",
            paths=cardinalities.paths,
            role="scientific",
            dimension=cardinalities,
            when={"model.block": ("bottleneck",)},
            source="Xie et al. 2017, table 2: about as many parameters each",
        ),
        Param(
            name="model.widen",
            paths=("model.widen",),
            role="scientific",
            dimension=Choice(values=(1.0, 1.5, 2.0)),
            source="the CBAM paper's WideResNet18 has 1.5 and 2.0",
        ),
        _weight_decay(recipe),
        learning_rate(recipe),
    )
    return declare("cbam_capacity", params, FIXED, recipe)


def cbam_attention(recipe: Recipe, _: Regime) -> Space:
    """Which gates, in which order, of which reduction and kernel; the last two where there is something to set."""
    params = (
        Param(
            name="model.attention",
            paths=("model.attention",),
            role="scientific",
            dimension=Choice(
                values=("none", "se", "channel", "spatial", "cbam", "spatial_channel", "parallel")
            ),
            source="Woo et al. 2018, tables 1 to 3",
        ),
        Param(
            name="model.reduction",
            paths=("model.reduction",),
            role="scientific",
            dimension=Choice(values=(8, 16, 32)),
            when={"model.attention": WITH_CHANNELS},
            source="16: Woo et al. 2018; 8 and 32 beside it: Hu et al. 2018 compare ratios around 16",
        ),
        Param(
            name="model.spatial_kernel",
            paths=("model.spatial_kernel",),
            role="scientific",
            dimension=Choice(values=(3, 7)),
            when={"model.attention": WITH_PLACES},
            source="Woo et al. 2018, table 2",
        ),
        learning_rate(recipe),
    )
    return declare("cbam_attention", params, FIXED, recipe)


def cbam_smoke(recipe: Recipe, _: Regime) -> Space:
    """Attention and drop path of the tiny ResNeXt: minutes on CPUs, on the synthetic images."""
    params = (
        Param(
            name="model.attention",
            paths=("model.attention",),
            role="scientific",
            dimension=Choice(values=("none", "se", "cbam")),
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
    return declare("cbam_smoke", params, FIXED, recipe)


def _weight_decay(recipe: Recipe) -> Param:
    prior = recipe.optimizer.weight_decay or RESNET_WEIGHT_DECAY
    return Param(
        name="optimizer.weight_decay",
        paths=("optimizer.weight_decay",),
        role="nuisance",
        dimension=Offset(prior={"": prior}, notch=ROOT_10, log=True, low=-2, high=2),
        source=f"the recipe's own (1e-4: He et al. 2016, section 3.4); a notch is {ROOT_10:.2f}, as AugReg's",
    )
