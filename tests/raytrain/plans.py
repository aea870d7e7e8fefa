"""Small plans for tests, without files: a shard set that is only a manifest."""

from cluster.fleet import Fleet
from data_shards.shardset import Packing, Shard, ShardSet, Split
from data_shards.view import View
from raytrain.models.spec import ResNetSpec
from raytrain.plan import RunPlan, resolve
from raytrain.recipe import Optimizer, Recipe, Regularization, Schedule

TINY_RESNET = ResNetSpec(
    depths=(1, 1), stem_width=16, groups=4, width_per_group=8, attention="cbam", reduction=8
)


def paper_shardset(train: int = 400, held_out: int = 40, classes: int = 8) -> ShardSet:
    """A manifest with no bytes behind it."""

    def split(name: str, samples: int) -> Split:
        shard = Shard(name=f"{name}-000000", samples=samples, bytes=1, sha256="0", index_sha256="0")
        return Split(shards=(shard,), class_counts=(samples // classes,) * classes)

    return ShardSet(
        name="paper",
        classes=tuple(f"n{i:08d}" for i in range(classes)),
        splits={"train": split("train", train), "val": split("val", held_out)},
        packing=Packing(seed=0, samples_per_shard=1000),
    )


def tiny_recipe(**changes: object) -> Recipe:
    """A recipe of seconds: a two-stage ResNeXt + CBAM at 16 px."""
    base = Recipe(
        name="tiny",
        summary="for tests",
        source="tests",
        model=TINY_RESNET,
        view=View(image_size=16, min_area=0.5, eval_crop=1.0),
        epochs=2,
        global_batch=16,
        optimizer=Optimizer(lr=1e-2, lr_batch=16),
        schedule=Schedule(warmup_epochs=0.1),
        regularization=Regularization(mixup=0.2, cutmix=1.0),
    )
    return Recipe.model_validate({**base.model_dump(), **changes})


def tiny_plan(
    workers: int = 1, engine: str = "deepspeed", zero_stage: int | None = None, **changes: object
) -> RunPlan:
    """A resolved plan of the tiny recipe."""
    fleet = Fleet(name="test", workers_per_node=workers)
    return resolve(
        tiny_recipe(**changes),
        fleet,
        paper_shardset(),
        engine=engine,
        zero_stage=zero_stage,  # type: ignore[arg-type]
    )
