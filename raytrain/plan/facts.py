"""What a plan needs to know of the data: how many images an epoch has, how many are held out, and by which rule."""

from pydantic import Field

from data_shards.mix import Data, Mix, to_train
from data_shards.shardset import ShardSet, Value
from data_shards.training import first_shards
from raytrain.errors import UsageError
from raytrain.recipe import Recipe


class SetFacts(Value):
    """A set of a mix: its images, and how many turns it has of those of all sets."""

    name: str
    split: str
    samples: int
    turns: int


class DataFacts(Value):
    """What the plan needs to know of the data; the fingerprint stands for the rest.

    `train_samples` are those of an epoch. Of a mix, that is when the first of `sets` was drawn once.
    `train_slice`: how many of them are evaluated too.
    """

    name: str
    fingerprint: str
    train_samples: int
    eval_samples: int
    classes: int
    train_slice: int = Field(0, exclude_if=lambda images: images == 0)
    sets: tuple[SetFacts, ...] = Field((), exclude_if=lambda sets: not sets)


def data_facts(recipe: Recipe, data: Data) -> DataFacts:
    """Of the data that the recipe is trained and evaluated on. Raises UsageError where a split is empty."""
    held = data.first.shardset if isinstance(data, Mix) else data
    training = to_train("", data, recipe.train_split, recipe.train_fraction)
    if isinstance(data, Mix):
        epoch = data.epoch
        sets = tuple(
            SetFacts(name=part.name, split=part.split, samples=part.chosen.samples, turns=turns)
            for part, turns in zip(training.parts, data.turns, strict=True)
        )
    else:
        _samples(data, recipe.train_split)  # raises where there are none
        epoch, sets = training.samples, ()
    return DataFacts(
        name=data.name,
        fingerprint=data.fingerprint,
        train_samples=epoch,
        eval_samples=_samples(held, recipe.eval_split),
        classes=len(data.classes),
        train_slice=min(recipe.train_slice, training.parts[0].chosen.samples),
        sets=sets,
    )


def _samples(shardset: ShardSet, split: str) -> int:
    """How many a split has; UsageError where there are none."""
    samples = shardset.split(split).samples
    if samples == 0:
        raise UsageError(
            f"split '{split}' of shard set '{shardset.name}' is empty: put images into SRC/{split}/<class>/ and "
            "pack again, or cut it off with `raytrain data pack --val-fraction`"
        )
    return samples


def data_because(recipe: Recipe, data: DataFacts, there: Data) -> dict[str, str]:
    """What an epoch is, where it is not all images of the split once, and what the slice of training images is."""
    because = {}
    if data.sets:
        first, turns = data.sets[0], sum(part.turns for part in data.sets)
        because["data.train_samples"] = (
            f"an epoch: the {first.samples:,} of {first.name} once, in {first.turns} of {turns} turns"
        )
    elif isinstance(there, ShardSet) and recipe.train_fraction != 1:
        whole = there.split(recipe.train_split)
        kept = first_shards(whole, recipe.train_fraction)
        because["data.train_samples"] = (
            f"the first {len(kept.shards)} of {len(whole.shards)} shards, nearest to train_fraction "
            f"{recipe.train_fraction:g}: {100 * kept.samples / whole.samples:.1f} % of {whole.samples:,} images"
        )
    if data.train_slice:
        because["data.train_slice"] = "the first training images, evaluated as the held-out ones are"
    return because
