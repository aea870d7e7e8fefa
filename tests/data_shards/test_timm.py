"""timm reads packed shards by its own reader, with no file of its own beside them.

timm is no dependency. With it: `$(python benchmarks/environments.py timm) -m pytest tests/data_shards/test_timm.py`
"""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from data_shards.shardset import Split, load_shardset

data = pytest.importorskip("timm.data", reason="timm is not installed: this file's first lines say how")

MARKED = pytest.param(
    {"restart_markers": True},
    marks=pytest.mark.skipif(shutil.which("jpegtran") is None, reason="jpegtran is not on PATH"),
)


def dataset(url: str, name: str, *, is_training: bool = False) -> Any:
    """A split by the name of its tars and the number of its samples: what README.md tells timm's users."""
    split = load_shardset(url).split(name)
    shards = f"{name}-{{00000..{len(split.shards) - 1:05}}}.tar|{split.samples}"
    return data.create_dataset(
        "wds/drawn", root=f"{url}/shards", split=shards, is_training=is_training, batch_size=8
    )


@pytest.mark.parametrize("packing", [{}, MARKED])
@pytest.mark.parametrize("name", ["train", "val"])
def test_timms_reader_gives_every_picture_once_with_its_label(
    make_set: Callable[..., str], folders: Path, packing: dict[str, Any], name: str
) -> None:
    url = make_set(**packing)
    classes = load_shardset(url).classes
    theirs = dataset(url, name)
    read = Counter((classes[label], image.mode, image.tobytes()) for image, label in theirs)
    originals: Counter[tuple[str, str, bytes]] = Counter()
    for file in (folders / name).rglob("*.JPEG"):
        with Image.open(file) as image:
            originals[file.parent.name, image.mode, image.tobytes()] += 1
    assert read == originals
    assert len(theirs) == sum(originals.values())


def delivered(split: Split, theirs: Any, workers: int) -> Counter[int]:
    loader = data.create_loader(
        theirs, input_size=(3, 32, 32), batch_size=8, is_training=True, num_workers=workers, use_prefetcher=False,
        persistent_workers=False,
    )  # fmt: skip
    return Counter(label for _, labels in loader for label in labels.tolist())


def test_timms_training_loader_gives_an_epoch(packed: str) -> None:
    split = load_shardset(packed).split("train")
    counts = dict(enumerate(split.class_counts))
    assert delivered(split, dataset(packed, "train", is_training=True), workers=1) == counts
    # with more workers timm rounds each one's share up to whole batches: a multiple of 16, some pictures twice
    more = delivered(split, dataset(packed, "train", is_training=True), workers=2)
    assert more.total() == 128
