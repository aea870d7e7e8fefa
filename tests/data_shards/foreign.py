"""WebDataset tars as others write them, in miniature: timm's ImageNet layout and img2dataset's."""

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

from data_shards.adopt import AdoptOptions, AdoptResult, adopt

WNIDS = ("n01440764", "n01443537", "n01484850")
MTIME = 1_700_000_000.5
"""As time.time() has it, which TarWriter takes by default: a fraction, and so a pax header before every member."""

Members = Iterable[tuple[str, bytes]]


def photo(number: int, form: str = "JPEG") -> bytes:
    """A picture that no other number has, of 30 to 36 by 24 to 28 pixels."""
    pixels = np.random.default_rng(number).integers(0, 256, (5, 6, 3), np.uint8)
    raw = io.BytesIO()
    Image.fromarray(pixels).resize((30 + number % 7, 24 + number % 5)).save(raw, form)
    return raw.getvalue()


def make_timm(root: Path, train: tuple[int, ...] = (7, 5), validation: int = 4) -> Path:
    """Train tars of so many samples and one of validation, by webdataset's TarWriter, with _info.json."""
    splits: dict[str, dict[str, object]] = {}
    number = 0
    root.mkdir(parents=True, exist_ok=True)
    for split, counts, digits in (("train", train, 4), ("validation", (validation,), 2)):
        names = [f"imagenet12k-{split}-{shard:0{digits}}.tar" for shard in range(len(counts))]
        for name, count in zip(names, counts, strict=True):
            with (root / name).open("wb") as file, webdataset.TarWriter(file, mtime=MTIME) as tar:
                for _ in range(count):
                    tar.write(timm_sample(split, number))
                    number += 1
        splits[split] = {
            "name": split, "num_samples": sum(counts), "filenames": names, "shard_lengths": list(counts),
        }  # fmt: skip
    (root / "_info.json").write_text(json.dumps({"splits": splits}))
    return root


def timm_sample(split: str, number: int) -> dict[str, object]:
    """Sample `number` has label number % 3."""
    label = number % 3
    key = f"{WNIDS[label]}_{number}" if split == "train" else f"ILSVRC2012_val_{number:08}"
    told = {"filename": f"{key}.JPEG", "label": label, "class_id": WNIDS[label], "width": 30, "height": 24}
    return {"__key__": key, "jpg": photo(number), "cls": label, "json": told}


def make_img2dataset(root: Path, counts: tuple[int, ...] = (6, 5), form: int = tarfile.USTAR_FORMAT) -> Path:
    """00000.tar ... with KEY.jpg KEY.txt KEY.json; the caption's class is in the json as `wnid`."""
    number = 0
    root.mkdir(parents=True, exist_ok=True)
    for shard, count in enumerate(counts):
        members: list[tuple[str, bytes]] = []
        for row in range(count):
            told = {"url": "https://example.com/a b.jpg", "wnid": WNIDS[number % 3], "status": "success"}
            key = f"{shard:05}{row:04}"
            members += [
                (f"{key}.jpg", photo(number)),
                (f"{key}.txt", b"a fish"),
                (f"{key}.json", json.dumps(told, indent=4).encode()),
            ]
            number += 1
        write_tar(root / f"{shard:05}.tar", members, form)
    return root


def write_tar(path: Path, members: Members, form: int = tarfile.USTAR_FORMAT) -> None:
    """A tar of these members, in this order, by Python's tarfile."""
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def sample(number: int, label: object = 1) -> list[tuple[str, bytes]]:
    """Picture `number` and its label, as members."""
    return [(f"{number:04}.jpg", photo(number)), (f"{number:04}.cls", str(label).encode())]


def index(url: Path | str, workers: int = 0, max_bad: float = 0.0, **options) -> AdoptResult:
    """Adopt with one of the fixtures' classes; without workers in this process, which saves a start of Python."""
    classes = options.pop("classes", WNIDS)
    on_shard = options.pop("on_shard", lambda *_: None)
    with pytest.MonkeyPatch.context() as patch:
        if not workers:
            patch.setattr("data_shards.adopt.run_jobs", lambda work, jobs, _: (work(job) for job in jobs))
        return adopt(
            str(url), classes, AdoptOptions(name="theirs", **options), max(workers, 1), max_bad, on_shard
        )
