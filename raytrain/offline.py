"""Work on a finished checkpoint, in this process, without Ray."""

from collections.abc import Callable

from data_shards.mix import held_out, load_data
from data_shards.shardset import ShardSet
from data_shards.view import View
from raytrain.errors import UsageError
from raytrain.evaluation import Evaluation
from raytrain.manifest import Checkpoint, check_average, locate

BATCH = 64


def evaluate_checkpoint(
    url: str, data: str, *, split: str, image_size: int | None, ema: bool = False, say: Callable[[str], None]
) -> Evaluation:
    """Evaluate the checkpoint at `url` (or the newest of a run), or the average of its weights, on a split of `data`.

    Of a mix, its first set's. Raises UsageError where the label spaces differ: a prediction would be counted
    against another class.
    """
    checkpoint, there = locate(url, say), load_data(data)
    held_url, shardset = held_out(data, there)
    card = checkpoint.card
    if shardset.split(split).samples == 0:
        raise UsageError(f"split '{split}' of {data} is empty: there is nothing to evaluate")
    if card.classes != there.classes:
        common = len(set(card.classes) & set(there.classes))
        raise UsageError(
            f"{url} predicts {len(card.classes)} classes, {data} has {len(there.classes)}, {common} in common: "
            "a head and its data must have the same class list. Fine-tune with `raytrain train --init` first"
        )
    if ema:
        check_average(checkpoint)
    view = card.recipe.view
    if image_size is not None:
        if card.recipe.model.family == "vit" and image_size != view.image_size:
            raise UsageError(
                f"--image-size {image_size}: a ViT has learned positions for {view.image_size} px only; leave it out"
            )
        view = view.model_copy(update={"image_size": image_size})
    say(f"checkpoint: {checkpoint.url}, step {checkpoint.manifest.step}")
    return _evaluated(checkpoint, held_url, shardset, split, view, ema=ema)


def _evaluated(
    checkpoint: Checkpoint, url: str, shardset: ShardSet, split: str, view: View, *, ema: bool
) -> Evaluation:
    """The work. Only this loads torch: what is refused is refused at once."""
    import torch

    from data_shards.loader import eval_batches
    from raytrain.checkpoint import load_ema, load_model
    from raytrain.evaluate import evaluate
    from raytrain.models.build import build
    from raytrain.ranks import alone, use_files

    use_files()
    ranks, recipe, classes = alone(), checkpoint.card.recipe, len(checkpoint.card.classes)
    module = build(recipe.model, classes, view.image_size, seed=None)
    module.load_state_dict(load_ema(checkpoint) if ema else load_model(checkpoint))
    module.to(ranks.device)
    with torch.inference_mode():
        found = evaluate(
            module,
            eval_batches(
                url=url, shardset=shardset, split=split, view=view, batch_size=BATCH, rank=0, world=1
            ),
            ranks=ranks,
            split=split,
            samples=shardset.split(split).samples,
            classes=classes,
            bf16=recipe.precision == "bf16",
        )
    assert found is not None, "the only rank is the first"
    return found
