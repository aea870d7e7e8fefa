"""Shard sets to measure with: made-up photographs, the same bytes on every machine."""

import io
from pathlib import Path

from data_shards.pack import PackOptions, pack
from data_shards.synth import QUALITY, SynthOptions, synth

WORKERS = 2


def make_set(
    folder: Path, options: SynthOptions, *, samples_per_shard: int = 1000, grain: float = 0.0
) -> str:
    """Draw and pack a set under `folder`; returns its URL. `grain` is the deviation of noise added per channel."""
    images, shards = folder / "images", str(folder / "shards")
    synth(images, options, WORKERS, lambda *_: None)
    if grain:
        add_grain(images, grain)
    packing = PackOptions(name="bench", samples_per_shard=samples_per_shard)
    pack(images, shards, packing, WORKERS, 0.0, lambda *_: None)
    return shards


def add_grain(images: Path, deviation: float) -> None:
    """Add Gaussian noise to every picture, as a sensor does: its JPEG becomes larger and slower to decode."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for file in sorted(images.rglob("*.JPEG")):
        with Image.open(io.BytesIO(file.read_bytes())) as drawn:
            pixels = np.asarray(drawn, dtype=np.float32)
        noisy = np.clip(pixels + rng.normal(0, deviation, pixels.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(file, quality=QUALITY)
