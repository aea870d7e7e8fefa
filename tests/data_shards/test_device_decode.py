"""Decoding on an accelerator, with the CPU in its place: the same batches, but for the last bit of resizing."""

import io
import shutil
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest
import torch
from foreign import index, photo, write_tar
from PIL import Image

from data_shards import device_decode
from data_shards.errors import DataUsageError
from data_shards.loader import Batch, train_batches
from data_shards.shardset import load_shardset
from data_shards.training import alone
from data_shards.view import View

CPU = torch.device("cpu")
VIEW = View(image_size=32)
ROUNDING = 0.3
"""Mean difference of 255: torch resizes uint8 in fixed point on the CPU, and here in float32."""

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
ODD = (6, 7, 8, 9)
"""Samples of the set `odd` that the accelerator does not get: grey, CMYK, and PNG; and one it cannot decode."""


def train(url: str, count: int, **more: Any) -> list[Batch]:
    batches = train_batches(
        training=alone(url, load_shardset(url), "train"), **({"view": VIEW} | more), seed=5, global_batch=4,
        micro_batch=4, rank=0, world=1, samples_seen=0,
    )  # fmt: skip
    found = list(islice(batches, count))
    batches.close()
    return found


def facts(batch: Batch) -> tuple[Any, ...]:
    return batch.slots.tolist(), batch.labels.tolist(), batch.places.tolist(), batch.undecodable


def error(ours: Batch, theirs: Batch) -> float:
    assert ours.images.dtype == theirs.images.dtype == torch.uint8
    return (ours.images.cpu().float() - theirs.images.float()).abs().mean().item()


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> str:
    """10 samples in somebody else's tar, the last four odd."""
    root = tmp_path_factory.mktemp("odd")
    pictures = [photo(number) for number in range(6)]
    for mode, form in (("L", "JPEG"), ("CMYK", "JPEG"), ("RGB", "PNG")):
        raw = io.BytesIO()
        Image.open(io.BytesIO(photo(len(pictures)))).convert(mode).save(raw, form)
        pictures.append(raw.getvalue())
    pictures.append(photo(9)[:-120])
    members = [
        member
        for number, picture in enumerate(pictures)
        for member in ((f"{number:04}.jpg", picture), (f"{number:04}.cls", b"%d" % (number % 3)))
    ]
    write_tar(root / "train-0000.tar", members)
    index(root)
    return str(root)


@pytest.mark.parametrize(
    "packing",
    [
        {},
        pytest.param(
            {"restart_markers": True},
            marks=pytest.mark.skipif(shutil.which("jpegtran") is None, reason="jpegtran is not on PATH"),
        ),
    ],
)
def test_the_same_crops_come_out(make_set: Callable[..., str], packing: dict[str, Any]) -> None:
    url = make_set(**packing)
    for ours, theirs in zip(train(url, 30, decode_on=CPU), train(url, 30), strict=True):
        assert facts(ours) == facts(theirs)
        assert ours.images.shape == (4, 3, 32, 32)
        assert ours.images.is_contiguous(memory_format=torch.channels_last)
        assert error(ours, theirs) < ROUNDING


def test_odd_files_are_made_by_the_cpu_and_bad_ones_replaced_as_ever(
    odd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []

    def decode(jpegs: list[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
        given.append(len(jpegs))
        return by_torch(jpegs, device)

    by_torch = device_decode.decode
    monkeypatch.setattr(device_decode, "decode", decode)
    ours, theirs = train(odd, 5, decode_on=CPU), train(odd, 5)  # two epochs of ten
    assert sum(len(batch.undecodable) for batch in theirs) == 2
    for mine, its, jpegs in zip(ours, theirs, given[1:], strict=True):  # the first call was the check
        rows = its.places[:, 1].tolist()
        assert jpegs == sum(row not in ODD[:3] for row in rows)
        assert facts(mine) == facts(its)
        assert error(mine, its) < ROUNDING
        if 9 in rows:
            assert torch.equal(mine.images, its.images)


def test_loader_processes_hand_over_encoded_pictures(packed: str) -> None:
    ours, theirs = train(packed, 4, decode_on=CPU, processes=1), train(packed, 4, decode_on=CPU)
    assert [facts(batch) for batch in ours] == [facts(batch) for batch in theirs]
    assert all(torch.equal(mine.images, its.images) for mine, its in zip(ours, theirs, strict=True))


def test_what_only_the_cpu_does_is_refused(packed: str) -> None:
    with pytest.raises(DataUsageError, match=r"decode_on cpu: auto_augment rand .* done on the CPU"):
        train(packed, 1, decode_on=CPU, view=View(image_size=32, auto_augment="rand"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_one_message(packed: str) -> None:
    with pytest.raises(
        DataUsageError, match=r"decode_on cuda: it decodes no JPEG here .*Leave decode_on out"
    ):
        train(packed, 1, decode_on=torch.device("cuda"))


@needs_cuda
def test_on_a_gpu_the_pixels_are_near_the_cpus(make_set: Callable[..., str], odd: str) -> None:
    """NvJPEG's inverse DCT and chroma interpolation are its own: on an H200 a batch differed by 2.9 of 255."""
    for url in (make_set(restart_markers=True) if shutil.which("jpegtran") else make_set(), odd):
        for ours, theirs in zip(train(url, 10, decode_on=torch.device("cuda")), train(url, 10), strict=True):
            assert ours.images.device.type == "cuda"
            assert facts(ours)[:3] == facts(theirs)[:3]
            assert error(ours, theirs) < 4.0
