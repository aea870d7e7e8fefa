"""What ready spaces have in common: groups that stay as the recipe has them, and the learning rate."""

from raytrain.recipe import Recipe
from tuning.dimension import Range
from tuning.space import Param

FIXED = (
    *("epochs", "global_batch", "progressive", "seed", "precision", "ema_decay"),
    *("model.*", "view.*", "optimizer.*", "schedule.*", "regularization.*", "distillation.*"),
)
"""Length and batch are never tuned for quality (tuning playbook): they trade against time."""


def learning_rate(recipe: Recipe) -> Param:
    """A factor of 3 down and up: the probe that separates a wrong rate from a wrong network. Both ends are a guess."""
    own = recipe.optimizer.lr
    return Param(
        name="optimizer.lr",
        paths=("optimizer.lr",),
        role="nuisance",
        dimension=Range(low=own / 3, high=own * 3, log=True),
        source="the recipe's own, by 3 down and up (a guess)",
    )
