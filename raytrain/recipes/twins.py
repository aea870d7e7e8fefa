"""A recipe's smoke twin: the same parts, tiny. What a recipe does for weeks on GPUs its twin does in a second on a CPU.

The same: family, gates, window, optimizer and its highest rate, shape of the schedule, augmentation, mixing, repeats,
average of weights, stages of other sizes, evaluation rule, precision. Smaller: width, depth, images, batch, epochs.
"""

from raytrain.models.spec import BitSpec, RegNetSpec, ResNetSpec, Spec, SwinSpec, VitSpec
from raytrain.recipe import Recipe

EPOCHS = 4.0
BATCH = 8


def twin(recipe: Recipe) -> Recipe:
    """The recipe for a CPU: 4 epochs (one of them warm-up, if it has any, and one between drops) in batches of 8.

    It is made for the synthetic set with the same space of labels, and has no published figure.
    """
    model, size = small(recipe.model)
    optimizer, schedule = recipe.optimizer, recipe.schedule
    batch = -(-BATCH // recipe.regularization.unit) * recipe.regularization.unit
    stages = tuple(
        stage.model_copy(
            update={
                "until": stage.until * EPOCHS / recipe.epochs,
                "image_size": _side(stage.image_size * size / recipe.view.image_size, model),
            }
        )
        for stage in recipe.progressive
    )
    return Recipe.model_validate(
        recipe.model_copy(
            update={
                "name": f"twin_{recipe.name}",
                "summary": f"tiny: {recipe.summary}",
                "made_for": recipe.made_for.replace("imagenet", "synthetic"),
                "model": model,
                "view": recipe.view.model_copy(update={"image_size": size}),
                "progressive": stages,
                "epochs": EPOCHS,
                "global_batch": batch,
                "optimizer": optimizer.model_copy(
                    update={"lr": optimizer.lr * recipe.global_batch / optimizer.lr_batch, "lr_batch": batch}
                ),
                "schedule": schedule.model_copy(
                    update={"warmup_epochs": min(1.0, schedule.warmup_epochs), "step_epochs": 1.0}
                ),
                "evaluate_epochs": 1.0,
                "checkpoint_epochs": 1.0,
                "published": None,
            }
        ).model_dump()
    )


def small(spec: Spec) -> tuple[Spec, int]:
    """The network with fewer blocks and channels and all of its parts, and an image size that it takes."""
    match spec:
        case SwinSpec():
            less = spec.model_copy(update={"embed_dim": spec.head_dim, "depths": (2, 2), "patch": 2})
            return less, less.stride * less.window
        case ResNetSpec():
            groups = min(spec.groups, 8)
            width = 64 if spec.groups == 1 else 16
            update = {"stem_width": 16, "depths": (1, 1), "groups": groups, "width_per_group": width}
            return spec.model_copy(update=update), 32
        case RegNetSpec():
            return spec.model_copy(update={"depths": (1, 1), "widths": (16, 32), "group_width": 8}), 32
        case VitSpec():
            return spec.model_copy(update={"width": 8 * spec.heads, "depth": 2}), 32
        case BitSpec():
            return spec.model_copy(update={"stem_width": 8, "depths": (1, 1), "norm_groups": 8}), 32


def _side(pixels: float, model: Spec) -> int:
    """The nearest side that the small network takes, at least one window or patch."""
    tile = model.stride * model.window if isinstance(model, SwinSpec) else 1
    return max(tile, round(pixels / tile) * tile)
