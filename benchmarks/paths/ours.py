"""The product's loader, as it trains: checksums, exactly-once order, one background thread, `processes=0`."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from paths.path import BATCH, SIDE, Data, Pick


class OurPath:
    """One endless stream, as in training: what it prepared beyond a pass is used by the next one."""

    def __init__(self, data: Data, url: Path, filter_name: str) -> None:
        """Open the shard set at `url`."""
        from data_shards.loader import train_batches
        from data_shards.shardset import load_shardset
        from data_shards.training import alone
        from data_shards.view import View

        self._view, shardset = View(image_size=SIDE, interpolation=filter_name), load_shardset(str(url))
        self._data, self._split, self._url = data, shardset.split("train"), str(url)
        self._batches = train_batches(
            training=alone(self._url, shardset, "train"), view=self._view, seed=0,
            global_batch=BATCH, micro_batch=BATCH, rank=0, world=1, samples_seen=0, processes=0,
        )  # fmt: skip

    def epoch(self) -> Iterator[Any]:
        """The next batches of the stream, as many as hold all samples once."""
        return (batch.images for batch in islice(self._batches, self._split.samples // BATCH))

    def crops(self, picks: list[Pick]) -> Any:
        """Those boxes, out of the shards."""
        import numpy as np
        import torch

        from data_shards.augment import finish
        from data_shards.decode import decode_region
        from data_shards.reader import Reader
        from data_shards.splice import Box

        reader, files, crops = Reader(self._url, self._split), self._data.files(), []
        rows = (
            (number, row) for number, shard in enumerate(self._split.shards) for row in range(shard.samples)
        )
        places = {reader.key(*place): place for place in rows}
        for number, *box in picks:
            file = files[number]
            sample = reader.read(*places[f"{file.parent.name}/{file.stem}"])
            crop = decode_region(sample.image, sample.lengths, Box(*box))
            crops.append(finish(crop, False, self._view, np.random.default_rng(0)))
        return torch.stack(crops)


def open_path(data: Data, *, filter_name: str, marked: bool) -> OurPath:
    """The set packed with restart markers, or the one without."""
    return OurPath(data, data.marked if marked else data.shards, filter_name)
