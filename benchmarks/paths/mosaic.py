"""MosaicML Streaming: MDS shards of the original JPEG files, read by StreamingDataset in a DataLoader."""

from collections.abc import Iterator
from typing import Any

from paths.path import BATCH, Data, Pick, pil, resized_crops, tv, v1, v2


class StreamingPath:
    """With Pillow as its own vision datasets do, or with bytes that decode_jpeg decodes."""

    def __init__(self, data: Data, decoder: str, filter_name: str) -> None:
        """Write the shards, then open them."""
        from streaming import MDSWriter, StreamingDataset
        from streaming.base.util import clean_stale_shared_memory
        from torch.utils.data import DataLoader

        out = str(data.own / "mds")
        with MDSWriter(out=out, columns={"image": "bytes", "label": "int"}) as writer:
            for file in data.files():
                writer.write({"image": file.read_bytes(), "label": 0})
        decode, transform = (pil, v1(filter_name)) if decoder == "pil" else (tv, v2(filter_name))

        class Crops(StreamingDataset):
            def __getitem__(self, index: Any) -> tuple[Any, int]:
                sample = super().__getitem__(index)
                return transform(decode(sample["image"])), sample["label"]

        clean_stale_shared_memory()
        dataset = Crops(local=out, shuffle=True, batch_size=BATCH, num_canonical_nodes=1)
        self._loader = DataLoader(dataset, batch_size=BATCH, num_workers=0)
        self._data, self._decode, self._filter = data, decode, filter_name

    def epoch(self) -> Iterator[Any]:
        """One pass of the loader."""
        return (images for images, _ in self._loader)

    def crops(self, picks: list[Pick]) -> Any:
        """Those boxes, by the same decoder."""
        files = self._data.files()
        pictures = (self._decode(files[pick.number].read_bytes()) for pick in picks)
        return resized_crops(pictures, picks, self._filter)


def open_path(data: Data, *, decoder: str, filter_name: str) -> StreamingPath:
    """`decoder` is pil or tv."""
    return StreamingPath(data, decoder, filter_name)
