"""Synth: made-up photographs in ImageNet's folder layout, to try everything on before the real thing.

    OUT/synth.json  OUT/{train,val}/<WNID>/<WNID>_<n>.JPEG

Each picture comes from its own generator, keyed by (seed, class, split, number): the same options make the same
bytes whatever the number of workers (and with the same numpy and Pillow).
"""

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, PositiveInt, ValidationError

from data_shards.errors import DataUsageError
from data_shards.factors import Kind, Space, kinds
from data_shards.pool import run_jobs
from data_shards.render import photograph
from data_shards.shardset import Value
from data_shards.store.local import space_for

OPTIONS = "synth.json"
QUALITY = 90
CHUNK = 64
"""Pictures per job: small enough for a lively progress bar."""


class SynthOptions(Value):
    """What to draw. `images` and `val_images` are per class; `label_noise` is the fraction of training pictures
    that show another class than their folder says.
    """

    classes: PositiveInt = 48
    images: PositiveInt = 100
    val_images: int = Field(20, ge=0)
    size: int = Field(64, ge=16, le=1024)
    label_noise: float = Field(0.0, ge=0, le=1)
    seed: int = Field(0, ge=0)
    space: Space = "22k"


@dataclass(frozen=True, kw_only=True)
class _Job:
    """Some pictures of one class and split."""

    out: Path
    split: Literal["train", "val"]
    kind: Kind
    numbers: range
    options: SynthOptions


def synth(out: Path, options: SynthOptions, workers: int, on_images: Callable[[int, int], None]) -> int:
    """Draw what is missing under `out` and return how many pictures that were; `on_images(done, of)` is told.

    A directory that holds the beginning of the same set is continued. DataUsageError if it holds anything else,
    or if the space has not so many classes.
    """
    jobs = list(_jobs(out, options))
    _claim(out, options)
    total, made = sum(len(job.numbers) for job in jobs), 0
    with closing(run_jobs(_draw, jobs, workers)) as chunks:
        for done, new in chunks:
            made += new
            on_images(done, total)
    return made


def _jobs(out: Path, options: SynthOptions) -> Iterator[_Job]:
    for split, count in (("train", options.images), ("val", options.val_images)):
        for kind in kinds(options.space, options.classes):
            for first in range(0, count, CHUNK):
                numbers = range(first, min(first + CHUNK, count))
                yield _Job(out=out, split=split, kind=kind, numbers=numbers, options=options)  # type: ignore[arg-type]


def _claim(out: Path, options: SynthOptions) -> None:
    """Write the options down first, so that a set that was broken off is known again."""
    note = out / OPTIONS
    if note.is_file():
        try:
            found = SynthOptions.model_validate_json(note.read_bytes())
        except ValidationError:
            raise DataUsageError(f"{note} is damaged: remove {out}, or choose another OUT") from None
        if found != options:
            raise DataUsageError(
                f"{out} holds another set: {_difference(found, options)}. Choose another OUT, or remove it first"
            )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataUsageError(f"{out} is not an empty directory, and no set of ours: choose another OUT")
    else:
        with space_for(note, 4096):
            out.mkdir(parents=True, exist_ok=True)
            _put(note, options.model_dump_json().encode())


def _difference(found: SynthOptions, asked: SynthOptions) -> str:
    there, here = found.model_dump(), asked.model_dump()
    return ", ".join(f"{k} {there[k]} there, {here[k]} asked for" for k in there if there[k] != here[k])


def _draw(job: _Job) -> tuple[int, int]:
    """(pictures of the job, those that were missing)."""
    folder = job.out / job.split / job.kind.wnid
    made = 0
    for number in job.numbers:
        path = folder / f"{job.kind.wnid}_{number}.JPEG"
        if path.exists():
            continue
        picture = draw(job.kind, job.split, number, job.options)
        with space_for(path, len(picture)):
            folder.mkdir(parents=True, exist_ok=True)
            _put(path, picture)
        made += 1
    return len(job.numbers), made


def draw(kind: Kind, split: str, number: int, options: SynthOptions) -> bytes:
    """The JPEG of one picture: a pure function of its arguments."""
    word = hashlib.blake2b(f"{kind.wnid}/{split}/{number}".encode(), digest_size=8).digest()
    key = np.array([options.seed, int.from_bytes(word, "little")], np.uint64)
    rng = np.random.Generator(np.random.Philox(key=key))
    wrong, choice = rng.random(2)
    if split == "train" and wrong < options.label_noise:
        others = [other for other in kinds(options.space, options.classes) if other != kind]
        kind = others[int(choice * len(others))]
    encoded = io.BytesIO()
    photograph(kind, options.size, rng).save(encoded, "JPEG", quality=QUALITY)
    return encoded.getvalue()


def _put(path: Path, content: bytes) -> None:
    """Whole or not at all after a kill; not forced to the disk, since it can be drawn again."""
    draft = path.with_name(f".{path.name}")
    draft.write_bytes(content)
    os.replace(draft, path)
