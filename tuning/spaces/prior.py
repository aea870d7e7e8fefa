"""How much regularization was published for a capacity and an amount of data: what offsets are counted from.

More data wants less of it, more capacity more (Steiner et al. 2022, "How to train your ViT?", figure 4): an absolute
range means another thing for each network, a notch from its prior does not.
"""

import math
from collections.abc import Mapping
from typing import Literal

from raytrain.models.arithmetic import parameters
from raytrain.models.named import named
from raytrain.models.spec import Spec, VitSpec
from raytrain.recipe import Recipe
from tuning.dimension import Offset, Settings

Regime = Literal["1k", "22k", "fine-tune"]

IMAGENET_1K, IMAGENET_22K = 1_281_167, 14_197_122

SWIN_SOURCE = "microsoft/Swin-Transformer configs/swin: *_224.yaml, *_22k.yaml, *_22kto1k_finetune.yaml"
SWIN_DROP_PATH: dict[Regime, dict[str, float]] = {
    # Swin-L was never trained on 1K alone: it is given Swin-B's, which is a guess
    "1k": {"swin_t": 0.2, "swin_s": 0.3, "swin_b": 0.5, "swin_l": 0.5},
    "22k": {"swin_t": 0.1, "swin_s": 0.2, "swin_b": 0.2, "swin_l": 0.2},
    "fine-tune": {"swin_t": 0.1, "swin_s": 0.2, "swin_b": 0.2, "swin_l": 0.2},
}
SWIN_WEIGHT_DECAY: dict[Regime, float] = {"1k": 0.05, "22k": 0.05, "fine-tune": 1e-8}

RESNET_WEIGHT_DECAY = 1e-4  # He et al. 2016, section 3.4; Jongchan/attention-module train_imagenet.py

AUGREG_SOURCE = (
    "google-research/big_vision configs/vit_i1k.py and vit_i21k.py (Steiner et al. 2022, figure 4)"
)
AUGREG: dict[str, Settings] = {
    name: {
        "view.auto_augment": "none" if magnitude is None else "rand",
        "view.magnitude": 9.0 if magnitude is None else magnitude,  # of none, it is the recipe's
        "regularization.mixup": mixup,
    }
    for name, magnitude, mixup in (
        # their light2 is randaug(2, 10), medium2 (2, 15), strong2 (2, 20): here magnitudes end at 10, and so medium1
        # and strong1, which differ from light2 and medium2 in the magnitude alone, are not there
        ("none", None, 0.0),
        ("light1", 0.0, 0.0),
        ("light2", 10.0, 0.2),
        ("medium2", 10.0, 0.5),
        ("strong2", 10.0, 0.8),
    )
}
AUGREG_PRIOR: dict[Regime, dict[str, str]] = {
    # each by a ViT; S/32 and B/32 have as many parameters as S/16 and B/16, and are left out
    "1k": {"Ti/16": "light1", "S/16": "medium2", "B/16": "medium2", "L/16": "medium2"},
    "22k": {"Ti/16": "none", "S/16": "light1", "B/16": "light2", "L/16": "medium2"},
}
VITS = {
    "Ti/16": VitSpec(width=192, depth=12, heads=3),  # Touvron et al. 2021 (DeiT), table 1
    "S/16": VitSpec(width=384, depth=12, heads=6),
    "B/16": VitSpec(width=768, depth=12, heads=12),  # Dosovitskiy et al. 2021, table 1
    "L/16": VitSpec(width=1024, depth=24, heads=16),
}

MIXING = ((0.0, 0.0), (0.2, 0.0), (0.5, 0.0), (0.8, 0.0), (0.8, 1.0))
"""(mixup, cutmix), weak to strong: AugReg's, then Swin's own pair (microsoft/Swin-Transformer config.py, AUG)."""

ROOT_10 = math.sqrt(10)
"""A notch of weight decay: AugReg's two values, 0.03 and 0.1, are about that far apart (wd_0.03 and wd_0.1 in the names
of the released checkpoints, google-research/vision_transformer)."""


def regime(train_samples: int, *, fine_tune: bool) -> Regime:
    """Whose figures hold: those of the nearer ImageNet, in the logarithm. A small set has 1K's, for want of others."""
    if fine_tune:
        return "fine-tune"
    return "22k" if train_samples > math.sqrt(IMAGENET_1K * IMAGENET_22K) else "1k"


def swin_size(recipe: Recipe) -> str:
    """Which of Swin-T, S, B and L the recipe's network is, or is nearest to in the logarithm of its parameters."""
    return _nearest(recipe, {name: named(name) for name in SWIN_DROP_PATH["1k"]})


def augreg_levels(recipe: Recipe, kind: Regime) -> dict[str, Settings]:
    """AugReg's levels from none to one above its prior for a ViT of as many parameters, and for this much data.

    A fine-tune has those of 1K, on which it is done: AugReg's own fine-tunes have none of it.
    """
    names = list(AUGREG)
    prior = AUGREG_PRIOR["22k" if kind == "22k" else "1k"][_nearest(recipe, VITS)]
    return {name: AUGREG[name] for name in names[: names.index(prior) + 2]}


def _nearest(recipe: Recipe, networks: Mapping[str, Spec]) -> str:
    count = parameters(recipe.model, 1000, recipe.view.image_size)
    return min(networks, key=lambda name: abs(math.log(count / parameters(networks[name], 1000, 224))))


def swin_drop_path(prior: dict[str, float], *, by: str) -> Offset:
    """Tenths from the prior, as far down as all of `prior` have them. The published values are tenths apart."""
    lowest = -min(2, *(round(value / 0.1) for value in prior.values()))
    return Offset(prior=prior, by=by, notch=0.1, low=lowest, high=2)


def swin_weight_decay(kind: Regime) -> Offset:
    """Notches of weight decay. A fine-tune's 1e-8 is none: there a notch is a factor of 1000 (a guess), and goes up."""
    prior = {"": SWIN_WEIGHT_DECAY[kind]}
    if kind == "fine-tune":
        return Offset(prior=prior, notch=1000.0, log=True, low=0, high=2)
    return Offset(prior=prior, notch=ROOT_10, log=True, low=-2, high=2)
