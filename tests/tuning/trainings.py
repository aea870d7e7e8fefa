"""Real trainings that take a moment: 8 steps of a tiny Swin on 64 images in 2 classes."""

from pathlib import Path

from small_sweeps import FLEET, small_space

from data_shards.shardset import load_shardset
from raytrain.plan import resolve
from raytrain.recipes import recipe
from raytrain.settings import change
from tuning.search.halving import rungs_of
from tuning.search.rows import Study
from tuning.search.training import Training

TINY = {
    "epochs": 2, "global_batch": 16, "evaluate_epochs": 9, "checkpoint_epochs": 9, "model.depths": [2],
    "model.embed_dim": 16, "model.head_dim": 8, "precision": "fp32",
}  # fmt: skip
SAMPLES = 128


def tiny_training(data: str, folder: Path, engine: str = "torch") -> Training:
    plan = resolve(change(recipe("smoke_swin_22k"), TINY), FLEET, load_shardset(data), engine=engine)
    assert plan.lengths.steps * 16 == SAMPLES
    return Training(plan=plan, fleet=FLEET, data_url=data, study=str(folder))


def tiny_study(training: Training, ranges, *, strategy="sobol", batch=4, seed=0) -> Study:
    return Study(
        base=training.plan.identity, space=small_space(ranges, training.plan.recipe), strategy=strategy, seed=seed,
        batch=batch, objectives=("error",), rungs=rungs_of(SAMPLES),
    )  # fmt: skip
