"""FFCV: its own file format, whose pictures it encodes anew, read by its compiled Loader."""

from collections.abc import Iterator
from typing import Any

from paths.path import BATCH, SIDE, Data, Pick, pil

WRITING = {
    "jpg": {"write_mode": "jpg", "jpeg_quality": 93},
    "mix": {
        "write_mode": "proportion",
        "compress_probability": 0.5,
        "max_resolution": 500,
        "jpeg_quality": 90,
    },
}
"""As near to the originals as it gets (their mean quality), and what its documentation recommends for ImageNet."""


class FfcvPath:
    """One worker, the file in the page cache, random order."""

    def __init__(self, data: Data, writing: str) -> None:
        """Write the file, then compile the pipeline."""
        import numpy as np
        from ffcv.fields import IntField, RGBImageField
        from ffcv.fields.decoders import IntDecoder, RandomResizedCropRGBImageDecoder
        from ffcv.loader import Loader, OrderOption
        from ffcv.transforms import RandomHorizontalFlip, ToTensor, ToTorchImage
        from ffcv.writer import DatasetWriter

        np.random.seed(0)  # which pictures stay raw
        self._file = str(data.own / "set.beton")
        fields = {"image": RGBImageField(**WRITING[writing]), "label": IntField()}
        DatasetWriter(self._file, fields, num_workers=1).from_indexed_dataset(Pictures(data))
        crop = RandomResizedCropRGBImageDecoder((SIDE, SIDE))
        self._loader = Loader(
            self._file, batch_size=BATCH, num_workers=1, os_cache=True, order=OrderOption.RANDOM, seed=0,
            pipelines={
                "image": [crop, RandomHorizontalFlip(), ToTensor(), ToTorchImage(channels_last=False)],
                "label": [IntDecoder(), ToTensor()],
            },
        )  # fmt: skip

    def epoch(self) -> Iterator[Any]:
        """One pass of its loader."""
        return (images for images, _ in self._loader)

    def crops(self, picks: list[Pick]) -> Any:
        """The largest centred squares, which `picks` must ask for: it takes no boxes."""
        import numpy as np
        from ffcv.fields.decoders import CenterCropRGBImageDecoder
        from ffcv.loader import Loader, OrderOption
        from ffcv.transforms import ToTensor, ToTorchImage

        centre = CenterCropRGBImageDecoder((SIDE, SIDE), ratio=1)
        loader = Loader(
            self._file, batch_size=1, num_workers=1, os_cache=True, order=OrderOption.SEQUENTIAL,
            indices=sorted(pick.number for pick in picks),
            pipelines={"image": [centre, ToTensor(), ToTorchImage(channels_last=False)], "label": None},
        )  # fmt: skip
        return np.concatenate([images.numpy().copy() for (images,) in loader])


class Pictures:
    """The training pictures, as FFCV's writer asks for them."""

    def __init__(self, data: Data) -> None:
        """All of them."""
        self._files = data.files()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._files)

    def __getitem__(self, number: int) -> tuple[Any, int]:
        """The RGB picture and a label."""
        return pil(self._files[number].read_bytes()), 0


def open_path(data: Data, *, writing: str) -> FfcvPath:
    """`writing` is a key of WRITING."""
    return FfcvPath(data, writing)
