"""Shard sets to measure with: made-up pictures, the same bytes wherever numpy and Pillow are the same."""

import io
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_shards.pack import PackOptions, pack
from data_shards.synth import SynthOptions, synth

if TYPE_CHECKING:
    import numpy as np

WORKERS = 2
CLASSES, PER_CLASS, SIDE = 8, 64, 382
QUALITIES = range(91, 96)
TEXTURE, TINT = 25.0, 4.0
"""Standard deviations, in levels of 255, of the 1/f noise laid over all channels and over each alone. Natural
pictures have such a spectrum; this much of it gives ImageNet-1K's average of about 110 kB per JPEG."""


def make_set(folder: Path, options: SynthOptions) -> str:
    """Draw and pack a set under `folder`; returns its URL."""
    images, shards = folder / "images", str(folder / "shards")
    synth(images, options, WORKERS, lambda *_: None)
    pack(images, shards, PackOptions(name="bench"), WORKERS, 0.0, lambda *_: None)
    return shards


def draw_photographs(images: Path) -> None:
    """CLASSES * PER_CLASS training JPEGs of about 475 x 405 and 110 kB as an ImageFolder, and one to validate on.

    Qualities 91 to 95, three in four with chroma at half resolution (4:2:0), as cameras and the web have them.
    """
    from data_shards.factors import kinds

    jobs = [(wnid.wnid, number) for wnid in kinds("22k", CLASSES) for number in range(PER_CLASS)]
    with ProcessPoolExecutor(WORKERS) as pool:
        list(pool.map(partial(_draw, images), range(len(jobs)), jobs, chunksize=8))
    first = min((images / "train").rglob("*.JPEG"))
    (images / "val" / first.parent.name).mkdir(parents=True)
    (images / "val" / first.parent.name / "held_out.JPEG").write_bytes(first.read_bytes())


def _draw(images: Path, number: int, job: tuple[str, int]) -> None:
    import numpy as np
    from PIL import Image

    from data_shards.factors import kinds
    from data_shards.render import photograph

    rng = np.random.Generator(np.random.Philox(key=number))
    kind = next(kind for kind in kinds("22k", CLASSES) if kind.wnid == job[0])
    pixels = np.asarray(photograph(kind, SIDE, rng), np.float32)
    channels = [_one_over_f(pixels.shape[:2], rng) for _ in range(4)]
    pixels = pixels + TEXTURE * channels[0][..., None] + TINT * np.stack(channels[1:], axis=-1)
    encoded = io.BytesIO()
    quality, subsampling = QUALITIES[number % len(QUALITIES)], "4:2:0" if number % 4 else "4:4:4"
    picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    picture.save(encoded, "JPEG", quality=quality, subsampling=subsampling)
    file = images / "train" / job[0] / f"{job[0]}_{job[1]}.JPEG"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encoded.getvalue())


def _one_over_f(shape: tuple[int, int], rng: "np.random.Generator") -> Any:
    """Noise [height, width] of deviation 1 whose amplitude falls as 1 / frequency."""
    import numpy as np

    height, width = shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal(shape)) / frequency, s=shape)
    return noise / noise.std()


def pack_photographs(images: Path, shards: Path, **options: Any) -> str:
    """Pack them in 4 shards; returns the set's URL."""
    packing = PackOptions(name="bench", samples_per_shard=CLASSES * PER_CLASS // 4, **options)
    pack(images, str(shards), packing, WORKERS, 0.0, lambda *_: None)
    return str(shards)
