"""The changes that can be made to a recipe, one of each kind: what the probes try.

Regularization is one axis: a notch moves drop path, weight decay, mixing and label smoothing together, from where the
recipe is (facts and sources: tuning/spaces/prior.py). Data shares keep the number of steps, so that fewer images are
not fewer steps as well: with equal epochs, whatever needs longer training would seem to need more data.
"""

from collections.abc import Mapping, Sequence

from data_shards.shardset import Split
from data_shards.training import first_shards
from raytrain.recipe import Recipe
from tuning.dimension import Settings
from tuning.method.capacity import larger
from tuning.method.values import Change, Kind
from tuning.spaces.prior import ROOT_10, Regime

LR_NOTCH = 3.0
DROP_PATH_NOTCH = 0.1
MOST_DROP_PATH = 0.8
MIXING = ((0.0, 0.0), (0.2, 0.0), (0.5, 0.0), (0.8, 0.0), (0.8, 1.0))
"""(mixup, cutmix), weak to strong: AugReg's levels, then Swin's own pair, as tuning/spaces/swin.py has them."""

SMOOTHING = 0.1  # Szegedy et al. 2016
FINE_TUNE_DECAY = 1e-6  # below, weight decay is off (Swin's fine-tunes have 1e-8), and no notch
SHARES: Mapping[Kind, tuple[float, float, float]] = {  # asked for, and between which true shares it is one
    "half_data": (0.5, 0.35, 0.65),
    "quarter_data": (0.25, 0.15, 0.35),
}


def changes_of(
    recipe: Recipe, train: Split | None, kind: Regime, *, larger_fits: bool, clean: bool
) -> tuple[Change, ...]:
    """At most one change of each kind. `train` is the split that is trained on, None for a mix; `larger_fits` is False
    where a run starts from weights; `clean` says that there is a set with cleaned labels.
    """
    rate = recipe.optimizer.lr
    name, bigger = larger(recipe.model, kind) if larger_fits else ("", {})
    offered = [
        Change(name=f"capacity: {name}", kind="capacity_up", settings=bigger),
        Change(name="more regularization", kind="regularize_up", settings=regularized(recipe, 1)),
        Change(name="less regularization", kind="regularize_down", settings=regularized(recipe, -1)),
    ]
    made = [change for change in offered if change.settings]
    made += [
        Change(name="learning rate x 3", kind="lr_up", settings={"optimizer.lr": _round(rate * LR_NOTCH)}),
        Change(name="learning rate / 3", kind="lr_down", settings={"optimizer.lr": _round(rate / LR_NOTCH)}),
        Change(name="twice the epochs", kind="longer", length=2.0),
        *(fractions(train, recipe.train_fraction) if train is not None else ()),
    ]
    if clean:
        made.append(Change(name="clean labels", kind="clean_labels", clean_labels=True))
    return tuple(made)


def regularized(recipe: Recipe, notches: int) -> Settings:
    """The recipe's regularization one notch up (1) or down (-1): only what moves; {} where nothing can."""
    decay, moving = recipe.optimizer.weight_decay, recipe.regularization
    drop_path = recipe.model.drop_path + notches * DROP_PATH_NOTCH
    wanted: Settings = {"model.drop_path": _round(min(max(drop_path, 0.0), MOST_DROP_PATH))}
    if decay > FINE_TUNE_DECAY:
        wanted["optimizer.weight_decay"] = _round(decay * ROOT_10**notches)
    if (moving.mixup, moving.cutmix) in MIXING:
        at = MIXING.index((moving.mixup, moving.cutmix)) + notches
        mixup, cutmix = MIXING[min(max(at, 0), len(MIXING) - 1)]
        wanted |= {"regularization.mixup": mixup, "regularization.cutmix": cutmix}
    if notches > 0:
        wanted["regularization.label_smoothing"] = max(SMOOTHING, moving.label_smoothing)
    elif moving.mixup == moving.cutmix == 0:  # the weakest level of mixing: smoothing is what is left
        wanted["regularization.label_smoothing"] = 0.0
    own: Settings = {
        "model.drop_path": recipe.model.drop_path,
        "optimizer.weight_decay": decay,
        "regularization.mixup": moving.mixup,
        "regularization.cutmix": moving.cutmix,
        "regularization.label_smoothing": moving.label_smoothing,
    }
    return {path: value for path, value in wanted.items() if value != own[path]}


def fractions(train: Split, now: float) -> Sequence[Change]:
    """Half and a quarter of the images that are trained on, as near as whole shards come; none where they do not."""
    whole, made, seen = first_shards(train, now).samples, [], {train.samples}
    for (kind, (share, least, most)), name in zip(
        SHARES.items(), ("half the images", "a quarter of the images"), strict=True
    ):
        kept = first_shards(train, now * share).samples
        if least <= kept / whole <= most and kept not in seen:
            made.append(Change(name=name, kind=kind, data=kept / whole, length=whole / kept))
            seen.add(kept)
    return made


def stretched(recipe: Recipe, length: float) -> Settings:
    """All that is counted in epochs, for a run of `length` times as many: the schedule keeps its shape."""
    steps = {"schedule.step_epochs": recipe.schedule.step_epochs * length}
    return {
        "epochs": recipe.epochs * length,
        "schedule.warmup_epochs": recipe.schedule.warmup_epochs * length,
        **(steps if recipe.schedule.shape == "step" else {}),
        "evaluate_epochs": recipe.evaluate_epochs * length,
        "checkpoint_epochs": recipe.checkpoint_epochs * length,
    }


def _round(value: float) -> float:
    """Without the tail of digits that multiplying leaves."""
    return float(f"{value:.6g}")
