"""How a recipe is changed to be measured: on minival, on training images too, often enough; and what that takes."""

from collections.abc import Sequence

from data_shards.mix import load_data
from data_shards.shardset import ShardSet
from raytrain.errors import UsageError
from raytrain.recipe import Recipe
from raytrain.settings import change, tree_of
from tuning.dimension import Settings

MINIVAL = "minival"
EVALUATIONS = 10  # of a training, evenly: enough to see where its best is


def check_minival(shardset: ShardSet, url: str) -> int:
    """How many images are held out that may be looked at often. Raises UsageError where there are none."""
    if MINIVAL not in shardset.splits or shardset.splits[MINIVAL].samples == 0:
        raise UsageError(
            f"{url} has no split {MINIVAL} (it has {', '.join(shardset.splits)}): decisions are made on images that "
            "are held out of train, and val is looked at once, at the end. Cut one off: `raytrain data pack SRC --out "
            "URL --minival N` takes N images per class; ImageNet-1K wants 13 of them, a hundredth of train"
        )
    return shardset.splits[MINIVAL].samples


def check_clean(classes: Sequence[str], url: str) -> None:
    """Raises UsageError where the set with cleaned labels has other classes, or no minival."""
    there = load_data(url)
    if not isinstance(there, ShardSet) or there.classes != tuple(classes):
        raise UsageError(f"{url} is no set of the same {len(classes)} classes: only labels may differ in it")
    check_minival(there, url)


def measured(recipe: Recipe, held_out: int) -> Recipe:
    """The recipe, measured as a trial is: on the `held_out` images of minival, on as many training images (or as many
    as it says itself), and at every tenth of its way.
    """
    return change(
        recipe,
        {
            "eval_split": MINIVAL,
            "train_slice": recipe.train_slice or held_out,
            "evaluate_epochs": recipe.epochs / EVALUATIONS,
        },
    )


def differing(base: Recipe, wanted: Recipe) -> Settings:
    """The paths whose values differ, with the wanted values."""
    before, after = leaves(tree_of(base)), leaves(tree_of(wanted))
    return {path: value for path, value in after.items() if before.get(path) != value}


def leaves(tree: dict[str, object], prefix: str = "") -> Settings:
    """The leaves of a recipe's JSON by their dotted paths; lists as tuples."""
    flat: Settings = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= leaves(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = tuple(value) if isinstance(value, list) else value  # type: ignore[assignment]
    return flat
