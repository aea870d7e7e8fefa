"""The product's loader, as it trains: checksums, exactly-once order, one background thread, `processes=0`."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from paths.path import BATCH, SIDE, Data, Pick


class OurPath:
    """One endless stream, as in training: what it prepared beyond a pass is used by the next one."""

    def __init__(self, data: Data, url: Path) -> None:
        """Open the shard set at `url`."""
        from data_shards.loader import train_batches
        from data_shards.shardset import load_shardset
        from data_shards.view import View

        shardset = load_shardset(str(url))
        self._data, self._samples = data, shardset.split("train").samples
        self._batches = train_batches(
            url=str(url), shardset=shardset, split="train", view=View(image_size=SIDE), seed=0,
            global_batch=BATCH, micro_batch=BATCH, rank=0, world=1, samples_seen=0, processes=0,
        )  # fmt: skip

    def epoch(self) -> Iterator[Any]:
        """The next batches of the stream, as many as hold all samples once."""
        return (batch.images for batch in islice(self._batches, self._samples // BATCH))

    def crops(self, picks: list[Pick]) -> Any:
        """Those boxes."""
        import torch

        from data_shards.augment import _resize
        from data_shards.decode import decode

        files, crops = self._data.files(), []
        for pick in picks:
            pixels = decode(files[pick.number].read_bytes())
            box = pixels[:, pick.top : pick.top + pick.height, pick.left : pick.left + pick.width]
            crops.append(_resize(box, SIDE, SIDE))
        return torch.stack(crops)


def open_path(data: Data, *, marked: bool) -> OurPath:
    """The set packed with restart markers, or the one without."""
    return OurPath(data, data.marked if marked else data.shards)
