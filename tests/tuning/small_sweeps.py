"""Small sweeps for tests."""

from pathlib import Path

from cluster.fleet import Fleet
from data_shards.pack import PackOptions, pack
from data_shards.synth import SynthOptions, synth
from raytrain.recipe import Recipe
from tuning.dimension import Dimension
from tuning.space import Param, Space, declare

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
