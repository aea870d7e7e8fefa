"""NVIDIA DALI on the CPU: its webdataset reader, crop-aware decoder, antialiased resize and fused mirror."""

from collections.abc import Iterator
from typing import Any

from paths.path import BATCH, SIDE, Data, Pick

INITIAL_FILL = 256
"""Samples in the reader's shuffle buffer."""


class DaliPath:
    """One thread, the default prefetch queue of two batches, and no GPU."""

    def __init__(self, data: Data, filter_name: str) -> None:
        """Build the training pipeline."""
        from nvidia.dali import fn, pipeline_def, types

        filters = {"bicubic": types.INTERP_CUBIC, "bilinear": types.INTERP_LINEAR}
        self._resize: dict[str, Any] = {"interp_type": filters[filter_name], "antialias": True}

        @pipeline_def(batch_size=BATCH, num_threads=1, device_id=None, seed=0)
        def training() -> Any:
            jpegs, labels = fn.readers.webdataset(
                paths=data.tars(), ext=["jpg", "cls"], random_shuffle=True, initial_fill=INITIAL_FILL,
                name="reader", missing_component_behavior="error",
            )  # fmt: skip
            images = fn.decoders.image_random_crop(
                jpegs, random_area=[0.08, 1.0], random_aspect_ratio=[3 / 4, 4 / 3]
            )
            images = fn.resize(images, size=[SIDE, SIDE], **self._resize)
            mirror = fn.random.coin_flip()
            return self._planar(images, mirror), labels

        self._data, self._pipeline = data, training()
        self._pipeline.build()
        self._samples = self._pipeline.reader_meta("reader")["epoch_size"]

    def _planar(self, images: Any, mirror: Any) -> Any:
        from nvidia.dali import fn, types

        return fn.crop_mirror_normalize(
            images, mirror=mirror, dtype=types.UINT8, output_layout="CHW", mean=[0.0], std=[1.0]
        )

    def epoch(self) -> Iterator[Any]:
        """The next batches of its endless stream, as many as hold all samples once."""
        import numpy as np
        import torch

        for _ in range(self._samples // BATCH):
            images, _ = self._pipeline.run()
            yield torch.from_numpy(np.array(images.as_tensor()))

    def crops(self, picks: list[Pick]) -> Any:
        """Those boxes: the same pipeline with image_slice, which decodes a given box, for image_random_crop."""
        import numpy as np
        from nvidia.dali import fn, pipeline_def

        files = self._data.files()
        jpegs = [np.frombuffer(files[pick.number].read_bytes(), np.uint8) for pick in picks]
        starts = [np.array([pick.top, pick.left], np.int32) for pick in picks]
        shapes = [np.array([pick.height, pick.width], np.int32) for pick in picks]

        @pipeline_def(batch_size=len(picks), num_threads=1, device_id=None)
        def given() -> Any:
            encoded, start, shape = (fn.external_source([held]) for held in (jpegs, starts, shapes))
            images = fn.decoders.image_slice(encoded, start=start, shape=shape, axes=[0, 1])
            return self._planar(fn.resize(images, size=[SIDE, SIDE], **self._resize), 0)

        pipeline = given()
        pipeline.build()
        (images,) = pipeline.run()
        return np.array(images.as_tensor())


def open_path(data: Data, *, filter_name: str) -> DaliPath:
    """See DaliPath."""
    return DaliPath(data, filter_name)
