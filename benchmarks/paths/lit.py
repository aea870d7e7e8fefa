"""litdata: chunks of the original JPEG files, read by its StreamingDataset and StreamingDataLoader."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paths.path import BATCH, Data, Pick, pil, resized_crops, tv, v1, v2


def item(job: tuple[str, str]) -> dict[str, Any]:
    """What is stored of a file: its bytes, as they are, and its label."""
    from PIL import Image

    file, kind = job
    return {"image": Image.open(file) if kind == "jpeg" else Path(file).read_bytes(), "label": 0}


class LitDataPath:
    """Stored as `jpeg`, litdata decodes by torchvision's decode_jpeg; stored as bytes, Pillow decodes here."""

    def __init__(self, data: Data, kind: str, filter_name: str) -> None:
        """Write the chunks, then open them as the documentation does: a dataset with a transform, and its loader."""
        import litdata

        out = data.own / "chunks"
        jobs = [(str(file), kind) for file in data.files()]
        litdata.optimize(item, jobs, str(out), chunk_bytes="64MB", num_workers=1)
        transform = v2(filter_name) if kind == "jpeg" else v1(filter_name)
        decode = (lambda image: image) if kind == "jpeg" else pil

        class Crops(litdata.StreamingDataset):
            def __getitem__(self, index: Any) -> tuple[Any, int]:
                sample = super().__getitem__(index)
                return transform(decode(sample["image"])), sample["label"]

        dataset = Crops(str(out), shuffle=True)
        self._loader = litdata.StreamingDataLoader(dataset, batch_size=BATCH, num_workers=0, shuffle=True)
        self._data, self._decode, self._filter = data, tv if kind == "jpeg" else pil, filter_name

    def epoch(self) -> Iterator[Any]:
        """One pass of its loader."""
        return (images for images, _ in self._loader)

    def crops(self, picks: list[Pick]) -> Any:
        """Those boxes, by the decoder that it uses."""
        files = self._data.files()
        pictures = (self._decode(files[pick.number].read_bytes()) for pick in picks)
        return resized_crops(pictures, picks, self._filter)


def open_path(data: Data, *, kind: str, filter_name: str) -> LitDataPath:
    """`kind` is jpeg or bytes."""
    return LitDataPath(data, kind, filter_name)
