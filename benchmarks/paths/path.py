"""What every path is: one way from a data set on disk to training batches, in a process of its own.

The modules beside this one run in the environments of the peers, so nothing here imports the product.
"""

import io
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

BATCH, SIDE = 64, 224


class Data(NamedTuple):
    """Where things lie: the JPEGs as an ImageFolder, two packed sets, and a folder for a path's own format."""

    images: Path
    shards: Path
    marked: Path
    own: Path

    def files(self) -> list[Path]:
        """The training JPEGs. Their order numbers them."""
        return sorted((self.images / "train").rglob("*.JPEG"))

    def tars(self) -> list[str]:
        """The packed training shards, without restart markers."""
        return sorted(str(tar) for tar in (self.shards / "shards").glob("train-*.tar"))


class Pick(NamedTuple):
    """A box, in pixels, of the training JPEG of that number."""

    number: int
    top: int
    left: int
    height: int
    width: int


class LoaderPath(Protocol):
    """A way to batches. Its maker is `open_path(data, **options)` of its module."""

    def epoch(self) -> Iterable[Any]:
        """Every training image once: uint8 torch tensors [BATCH, 3, SIDE, SIDE], cropped and mirrored at random."""
        ...

    def crops(self, picks: list[Pick]) -> Any:
        """uint8 [n, 3, SIDE, SIDE]: those boxes by this path's own decoding and resizing, not mirrored."""
        ...


def stacked(images: Iterable[Any]) -> Iterator[Any]:
    """Batches of BATCH images, the last one shorter if it must be."""
    import torch

    endless = iter(images)
    while batch := list(islice(endless, BATCH)):
        yield torch.stack(batch)


def v1(filter_name: str) -> Callable[[Any], Any]:
    """Torchvision's first transforms, on a PIL image: RandomResizedCrop, flip, to a uint8 tensor."""
    from torchvision import transforms

    crop = transforms.RandomResizedCrop(SIDE, interpolation=transforms.InterpolationMode(filter_name))
    return transforms.Compose([crop, transforms.RandomHorizontalFlip(), transforms.PILToTensor()])


def v2(filter_name: str) -> Callable[[Any], Any]:
    """Torchvision's second transforms, on a uint8 tensor: RandomResizedCrop (antialiased), flip."""
    from torchvision.transforms import InterpolationMode, v2

    crop = v2.RandomResizedCrop(SIDE, interpolation=InterpolationMode(filter_name), antialias=True)
    return v2.Compose([crop, v2.RandomHorizontalFlip()])


def pil(jpeg: bytes) -> Any:
    """The RGB picture, by Pillow."""
    from PIL import Image

    return Image.open(io.BytesIO(jpeg)).convert("RGB")


def tv(jpeg: bytes) -> Any:
    """The RGB picture as a uint8 tensor, by torchvision's decode_jpeg."""
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    return decode_jpeg(torch.frombuffer(bytearray(jpeg), dtype=torch.uint8), mode=ImageReadMode.RGB)


def resized_crops(pictures: Iterable[Any], picks: list[Pick], filter_name: str) -> Any:
    """What v1 makes of PIL pictures, and v2 of tensors, where the boxes are those of `picks`."""
    import torch
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional as F

    crops = [
        F.resized_crop(
            picture, pick.top, pick.left, pick.height, pick.width, [SIDE, SIDE],
            InterpolationMode(filter_name), antialias=True,
        )
        for picture, pick in zip(pictures, picks, strict=True)
    ]  # fmt: skip
    return torch.stack([crop if isinstance(crop, torch.Tensor) else F.pil_to_tensor(crop) for crop in crops])
