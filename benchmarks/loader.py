"""The loader against the usual recipe, webdataset + PIL + torchvision, on the same shards: images per CPU second."""

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conditions import spread, table, tell
from sets import make_set

from data_shards.synth import SynthOptions

if TYPE_CHECKING:
    from torch import Tensor

IMAGES, PER_SHARD, MICRO_BATCH, REPEATS = 240, 60, 8, 5
SYNTH = SynthOptions(classes=8, images=IMAGES // 8, val_images=1, size=400)
GRAINS = {"as drawn": 0.0, "with grain": 20.0}
"""Noise added to the pictures, in levels of 255. 20 gives JPEGs of ImageNet-1K's average size, about 110 kB."""

SHUFFLE = 100
"""webdataset's buffer, in samples still encoded. The loader's own order costs no buffer."""

OURS, PLAIN, MIXED = "this loader", "webdataset + PIL + torchvision", "webdataset + this loader's pixels"


def measure(scratch: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Both sets, each read by all loaders in turn."""
    from raytrain.ranks import use_threads

    use_threads(1)
    raw, sizes = {}, {}
    for name, grain in GRAINS.items():
        shards = make_set(scratch / name, SYNTH, samples_per_shard=PER_SHARD, grain=grain)
        sizes[name] = shard_bytes_per_image(shards)
        raw[name] = compare(shards)
        say(f"{name}: {REPEATS} rounds")
    return {
        "settings": {
            "images": IMAGES, "side": SYNTH.size, "micro_batch": MICRO_BATCH, "repeats": REPEATS,
            "shards": IMAGES // PER_SHARD, "shuffle_buffer": SHUFFLE, "shard_bytes_per_image": sizes,
        },
        "raw": raw,
        "medians": {name: summary(speeds) for name, speeds in raw.items()},
    }  # fmt: skip


def compare(shards: str) -> dict[str, list[float]]:
    """Images per CPU second by loader: REPEATS rounds of one pass each, after one unmeasured round."""
    loaders: dict[str, Callable[[str], Iterable[Tensor]]] = {OURS: ours, PLAIN: plain, MIXED: mixed}
    speeds: dict[str, list[float]] = {name: [] for name in loaders}
    for turn in range(-1, REPEATS):
        for name in sorted(loaders, reverse=bool(turn % 2)):
            speed = images_per_cpu_second(loaders[name](shards))
            if turn >= 0:
                speeds[name].append(speed)
    return speeds


def summary(speeds: dict[str, list[float]]) -> dict[str, Any]:
    """Medians by loader, and this loader's speed over each one's, round by round."""
    return {
        "images_per_cpu_second": {name: spread(repeats) for name, repeats in speeds.items()},
        "ours_over_it": {
            name: spread([mine / its for mine, its in zip(speeds[OURS], repeats, strict=True)])
            for name, repeats in speeds.items()
            if name != OURS
        },
    }


def images_per_cpu_second(batches: Iterable["Tensor"]) -> float:
    """One pass: uint8 batches of [MICRO_BATCH, 3, 224, 224] per second of CPU of all threads of this process."""
    began, images = time.process_time(), 0
    for batch in batches:
        assert batch.shape == (MICRO_BATCH, 3, 224, 224)
        images += MICRO_BATCH
    assert images == IMAGES
    return images / (time.process_time() - began)


def ours(url: str) -> Iterator["Tensor"]:
    """What training uses. Up to one micro-batch made ahead and thrown away at the end is charged to it."""
    from data_shards.loader import train_batches
    from data_shards.shardset import load_shardset
    from data_shards.view import View

    batches = train_batches(
        url=url, shardset=load_shardset(url), split="train", view=View(), seed=0, global_batch=MICRO_BATCH,
        micro_batch=MICRO_BATCH, rank=0, world=1, samples_seen=0, processes=0,
    )  # fmt: skip
    for batch in islice(batches, IMAGES // MICRO_BATCH):
        yield batch.images
    batches.close()


def plain(url: str) -> Iterator["Tensor"]:
    """The usual recipe: a shuffle buffer, Pillow, and torchvision's v1 transforms on PIL images."""
    from torchvision import transforms

    bicubic = transforms.InterpolationMode.BICUBIC
    to_tensor = transforms.Compose(
        [
            transforms.RandomResizedCrop(224, interpolation=bicubic),
            transforms.RandomHorizontalFlip(),
            transforms.PILToTensor(),
        ]
    )
    return stacked(webdataset(url).decode("pilrgb").to_tuple("jpg").map_tuple(to_tensor))


def mixed(url: str) -> Iterator["Tensor"]:
    """The reading of webdataset with this loader's decoding and cropping: what the pixels alone account for."""
    import numpy as np

    from data_shards.augment import train_image
    from data_shards.decode import decode
    from data_shards.view import View

    rng, view = np.random.default_rng(0), View()
    return stacked(
        webdataset(url).to_tuple("jpg").map_tuple(lambda jpeg: train_image(decode(jpeg), view, rng))
    )


def webdataset(url: str) -> Any:
    """The shards' samples, encoded, in a shuffled stream."""
    from webdataset import WebDataset

    tars = sorted(str(tar) for tar in (Path(url) / "shards").glob("train-*.tar"))
    return WebDataset(tars, shardshuffle=len(tars)).shuffle(SHUFFLE)


def stacked(samples: Iterable[tuple["Tensor"]]) -> Iterator["Tensor"]:
    """Batches of MICRO_BATCH images."""
    import torch

    endless = iter(samples)
    while images := [image for (image,) in islice(endless, MICRO_BATCH)]:
        yield torch.stack(images)


def shard_bytes_per_image(url: str) -> float:
    """The training shards' bytes over their samples: the JPEG, its label and the tar's headers."""
    from data_shards.shardset import load_shardset

    split = load_shardset(url).split("train")
    return sum(shard.bytes for shard in split.shards) / split.samples


def page(result: dict[str, Any]) -> str:
    """The table of loaders."""
    settings = result["settings"]
    sizes = settings["shard_bytes_per_image"]
    rows = [
        [
            f"{name}, {images} ({sizes[images] / 1000:.0f} kB)",
            tell(speed, 0),
            tell(told["ours_over_it"][name]) if name != OURS else "",
        ]
        for images, told in result["medians"].items()
        for name, speed in told["images_per_cpu_second"].items()
    ]
    return f"""## Reading, decoding and cropping

{table(["loader, photographs", "images per CPU second", "this loader's speed over it, paired"], rows)}

How: {settings["images"]} made-up photographs with a short edge of about {settings["side"]} px in
{settings["shards"]} shards; one pass per repeat, {settings["repeats"]} repeats in turn, to uint8 micro-batches of
{settings["micro_batch"]} at 224 px (RandomResizedCrop, antialiased bicubic, flip). Grain is noise that brings the JPEGs
to the size of ImageNet-1K's, about 110 kB, and so to more decoding per image. CPU seconds are those of all threads of
the process. This loader runs as it trains: with its checksums and its exactly-once order, one background thread,
`processes=0`. In the third row of each set webdataset reads, and this loader's functions decode and resize: the
rest is the price of reading, order and checks.

Not shown: disks and networks (all shards are in the page cache), several processes, and ImageNet itself."""
