"""The parts of loading alone, on one core: reading members, decoding, resizing, digests. CPU milliseconds per image."""

import hashlib
import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conditions import spread, table, tell
from loader import describe, make_data
from paths.path import Data, pil, tv
from pixels import training_box

REPEATS = 7
Part = Callable[[], Any]


def measure(scratch: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Each part over all photographs: one unmeasured round, then REPEATS rounds in an order that alternates."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    import torch

    torch.set_num_threads(1)
    data = make_data(scratch)
    parts, images = all_parts(data), len(data.files())
    raw: dict[str, list[float]] = {name: [] for name in parts}
    for turn in range(-1, REPEATS):
        for name in list(parts)[:: -1 if turn % 2 else 1]:
            began = time.process_time()
            parts[name]()
            if turn >= 0:
                raw[name].append(1000 * (time.process_time() - began) / images)
        say(f"round {turn + 1} of {REPEATS}")
    return {
        "settings": {"repeats": REPEATS, **describe(data)},
        "raw": raw,
        "medians": {name: spread(milliseconds) for name, milliseconds in raw.items()},
    }


def all_parts(data: Data) -> dict[str, Part]:
    """Every part's work on all photographs, by name. What a part starts from is in memory before."""
    jpegs = [file.read_bytes() for file in data.files()]
    return {
        **reading(data),
        "decode whole: Pillow": lambda: [pil(jpeg).load() for jpeg in jpegs],
        "decode whole: torchvision": lambda: [tv(jpeg) for jpeg in jpegs],
        **cutting(data),
        **resizing(jpegs),
        "digest: crc32": lambda: [zlib.crc32(jpeg) for jpeg in jpegs],
        "digest: sha256": lambda: [hashlib.sha256(jpeg).digest() for jpeg in jpegs],
    }


def reading(data: Data) -> dict[str, Part]:
    """Encoded members out of tars in the page cache. The reader's crc32 is part of its time."""
    from webdataset import WebDataset

    from data_shards.reader import Reader
    from data_shards.shardset import load_shardset

    split = load_shardset(str(data.shards)).split("train")
    reader = Reader(str(data.shards), split)
    places = [(number, row) for number, shard in enumerate(split.shards) for row in range(shard.samples)]
    tars = data.tars()
    return {
        "read: webdataset's iterator": lambda: list(
            WebDataset(tars, shardshuffle=False).to_tuple("jpg", "cls")
        ),
        "read: index, mmap and crc32": lambda: [reader.read(*place) for place in places],
    }


def cutting(data: Data) -> dict[str, Part]:
    """The boxes of training crops out of restart segments: cut, and decoded by torchvision."""
    if not data.marked.exists():
        return {}
    from data_shards.decode import decode_region
    from data_shards.reader import Reader
    from data_shards.shardset import load_shardset
    from data_shards.splice import Box, splice

    split = load_shardset(str(data.marked)).split("train")
    reader = Reader(str(data.marked), split)
    jobs = []
    for number, shard in enumerate(split.shards):
        for row in range(shard.samples):
            sample = reader.read(number, row)
            box = training_box(pil(sample.image), len(jobs))
            jobs.append((sample.image, sample.lengths, Box(*box)))
    return {
        "cut a crop's segments": lambda: [splice(*job) for job in jobs],
        "cut and decode them: torchvision": lambda: [decode_region(*job) for job in jobs],
    }


def resizing(jpegs: list[bytes]) -> dict[str, Part]:
    """A training box of each picture, held as uint8, to 224 x 224."""
    import torch.nn.functional as F
    from PIL import Image
    from torchvision.transforms.functional import to_pil_image

    crops = []  # views of whole pictures, in decode_jpeg's layout, as the loader resizes them
    for number, jpeg in enumerate(jpegs):
        pixels = tv(jpeg)
        top, left, height, width = training_box(pixels, number)
        crops.append(pixels[:, top : top + height, left : left + width])
    pictures = [to_pil_image(crop) for crop in crops]

    def by_pillow(name: str) -> Part:
        return lambda: [picture.resize((224, 224), Image.Resampling[name.upper()]) for picture in pictures]

    def by_torch(name: str) -> Part:
        return lambda: [F.interpolate(crop[None], (224, 224), mode=name, antialias=True) for crop in crops]

    return {
        f"resize {name}: {library}": resize(name)
        for name in ("bicubic", "bilinear")
        for library, resize in (("Pillow", by_pillow), ("torch", by_torch))
    }


def page(result: dict[str, Any]) -> str:
    """The table of parts."""
    settings = result["settings"]
    rows = [[name, tell(milliseconds, 3)] for name, milliseconds in result["medians"].items()]
    return f"""## The parts of loading, alone

{table(["part", "CPU ms per image"], rows)}

How: the {settings["images"]} photographs of the table above, one core, one thread, one process;
{settings["repeats"]} rounds of all parts in turn after one unmeasured round. What a part starts from is in memory: tars
in the page cache for reading, encoded files for decoding and digests, the boxes of training crops for resizing.

Not shown: copies between the parts, batching, Python around them. The loader's table has the whole."""
