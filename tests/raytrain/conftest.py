"""For tests of the training room that need pictures: a small set, really drawn and packed."""

from pathlib import Path

import pytest

from data_shards.pack import PackOptions, pack
from data_shards.synth import SynthOptions, synth


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn ImageFolder: train of 6 classes x 20 images, val of 6 x 5, 32 px. Not to be changed."""
    root = tmp_path_factory.mktemp("pictures") / "drawn"
    synth(root, SynthOptions(classes=6, images=20, val_images=5, size=32), 1, lambda *_: None)
    return root


@pytest.fixture(scope="session")
def small_set(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of `pictures` packed: train 120 images in 4 shards, val 30. Not to be changed."""
    out = str(tmp_path_factory.mktemp("small") / "set")
    pack(pictures, out, PackOptions(name="small", samples_per_shard=32), 1, 0.0, lambda *_: None)
    return out
