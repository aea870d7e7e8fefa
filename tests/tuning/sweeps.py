"""Small sweeps for tests."""

from pathlib import Path

from cluster.fleet import Fleet
from data_shards.pack import PackOptions, pack
from data_shards.shardset import load_shardset
from data_shards.synth import SynthOptions, synth
from raytrain.plan import resolve
from raytrain.recipe import Recipe
from raytrain.recipes import recipe
from raytrain.settings import change
from tuning.dimension import Dimension
from tuning.space import Param, Space, declare
from tuning.trial import Sweep

FLEET = Fleet(name="test")


def small_set(folder: Path) -> str:
    """The URL of 64 training and 16 held-out images in 2 classes."""
    synth(folder / "raw", SynthOptions(classes=2, images=32, val_images=8, size=32), 1, lambda *_: None)
    pack(folder / "raw", str(folder / "set"), PackOptions(name="two"), 1, 0.0, lambda *_: None)
    return str(folder / "set")


def small_space(ranges: dict[str, Dimension], recipe: Recipe) -> Space:
    """These fields are searched, all else is fixed."""
    params = [Param(name=path, paths=(path,), role="scientific", dimension=ranges[path]) for path in ranges]
    return declare("small", params, ("*",), recipe)


def small_sweep(
    data: str, ranges: dict[str, Dimension], *, epochs: float = 20, seed: int = 0, grace: float = 0.1
) -> Sweep:
    """A sweep of the smoke recipe: 4 steps an epoch, evaluated every third."""
    base = change(recipe("smoke_swin_22k"), {"epochs": epochs, "global_batch": 16, "evaluate_epochs": 3})
    plan = resolve(base, FLEET, load_shardset(data))
    return Sweep(
        plan=plan, fleet=FLEET, data_url=data, space=small_space(ranges, base), seed=seed, grace=grace
    )
