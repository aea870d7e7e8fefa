"""webdataset: its reader and shuffle buffer, then Pillow and v1 transforms, or decode_jpeg and v2 transforms."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from paths.path import Data, Pick, pil, resized_crops, stacked, tv, v1, v2

SHUFFLE = 100
"""Samples in the buffer, still encoded."""


class WebDatasetPath(NamedTuple):
    """The usual recipe, and the same with the faster decoder."""

    data: Data
    decoder: str
    filter_name: str

    def epoch(self) -> Iterator[Any]:
        """One pass of the shards, in the order that webdataset shuffles them."""
        from webdataset import WebDataset

        tars = self.data.tars()
        samples = WebDataset(tars, shardshuffle=len(tars)).shuffle(SHUFFLE)
        if self.decoder == "pil":
            images = samples.decode("pilrgb").to_tuple("jpg", "cls").map_tuple(v1(self.filter_name), int)
        else:
            transform = v2(self.filter_name)
            images = samples.to_tuple("jpg", "cls").map_tuple(lambda jpeg: transform(tv(jpeg)), int)
        return stacked(image for image, _ in images)

    def crops(self, picks: list[Pick]) -> Any:
        """Those boxes."""
        decode, files = pil if self.decoder == "pil" else tv, self.data.files()
        pictures = (decode(files[pick.number].read_bytes()) for pick in picks)
        return resized_crops(pictures, picks, self.filter_name)


def open_path(data: Data, *, decoder: str, filter_name: str) -> WebDatasetPath:
    """`decoder` is pil or tv."""
    return WebDatasetPath(data, decoder, filter_name)
