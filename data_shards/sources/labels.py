"""Which class an ImageNet validation image is of: the archive has no folders, so a file beside it says.

ILSVRC2012_devkit_t12.tar.gz, or the folder it unpacks to: the class number of each image, in order of their
    names, and meta.mat, which says what WNID a number stands for
LOC_val_solution.csv: ImageId,PredictionString with the WNID as the prediction's first word
"""

import csv
import io
import re
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from data_shards.errors import DataError, DataUsageError
from data_shards.sources.base import WNID, Found
from data_shards.sources.matfile import structs

TRUTH, META = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"
NUMBERED = re.compile(r"ILSVRC2012_val_(\d{8})")
MAX_KIT_FILE = 16 << 20
"""Bytes of a file that is read from the kit; the real ones are below 1 MB."""


def by_class(images: list[Found], labels: Path) -> dict[str, list[Found]]:
    """Sort the images into classes. DataError where an image has no label, or a label no image."""
    stems = {image.name.rpartition("/")[2].rpartition(".")[0]: image for image in images}
    wnids = read_labels(labels)
    _refuse_rest(f"{labels} has no label for", stems.keys() - wnids.keys(), "images")
    _refuse_rest(f"{labels} names", wnids.keys() - stems.keys(), "images that are not there")
    listed: dict[str, list[Found]] = {}
    for stem in sorted(stems):
        listed.setdefault(wnids[stem], []).append(stems[stem])
    return listed


def _refuse_rest(what: str, names: Iterable[str], whom: str) -> None:
    rest = sorted(names)
    if rest:
        raise DataError(f"{what} {len(rest):,} {whom}, {rest[0]} among them")


def read_labels(path: Path) -> dict[str, str]:
    """The WNID of every image, by the image's name without suffix. DataUsageError if `path` is no such thing."""
    try:
        if path.suffix == ".csv":
            return _csv_labels(path)
        truth, meta = _kit_files(path)
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {error}") from None
    wnids = _wnids(path, meta)
    labels = {}
    for place, line in enumerate(truth.decode("ascii", "replace").split(), 1):
        if not line.isdecimal() or int(line) not in wnids:
            raise DataError(f"{path}: line {place} of {TRUTH} is {line!r}, which is no class of {META}")
        labels[f"ILSVRC2012_val_{place:08d}"] = wnids[int(line)]
    return labels


def _wnids(path: Path, meta: bytes) -> dict[int, str]:
    """The WNID of each class number, by the struct `synsets` of meta.mat."""
    rows = structs(meta, "synsets", f"{path}: {META}")
    wnids = {
        int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in rows if {"ILSVRC2012_ID", "WNID"} <= row.keys()
    }
    if not wnids or not all(WNID.fullmatch(wnid) for wnid in wnids.values()):
        raise DataError(f"{path}: {META} has no table of ILSVRC2012_ID and WNID")
    return wnids


def _csv_labels(path: Path) -> dict[str, str]:
    rows = csv.DictReader(io.StringIO(path.read_text("utf-8", "replace")))
    labels = {}
    for row in rows:
        words = (row.get("PredictionString") or "").split()
        if not row.get("ImageId") or not words or not WNID.fullmatch(words[0]):
            raise DataError(
                f"line {rows.line_num} of {path} is no 'ImageId,PredictionString' with a WNID first, as "
                "LOC_val_solution.csv has it"
            )
        labels[row["ImageId"]] = words[0]
    return labels


def _kit_files(path: Path) -> tuple[bytes, bytes]:
    """(ground truth, meta.mat), from the kit's archive or its folder."""
    if path.is_dir():
        folder = path / "data" if (path / "data").is_dir() else path
        found = {name: (folder / name).read_bytes() for name in (TRUTH, META) if (folder / name).is_file()}
    else:
        with tarfile.open(path, "r:*") as kit:
            found = {PurePosixPath(info.name).name: _kit_member(kit, info) for info in kit if _wanted(info)}
    if len(found) < 2:
        raise DataUsageError(
            f"{path} is neither ImageNet's development kit (with data/{TRUTH} and data/{META}) nor a .csv"
        )
    return found[TRUTH], found[META]


def _wanted(info: tarfile.TarInfo) -> bool:
    return info.isreg() and PurePosixPath(info.name).name in (TRUTH, META)


def _kit_member(kit: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    if info.size > MAX_KIT_FILE:
        raise DataError(f"{info.name} has {info.size:,} bytes, the limit is {MAX_KIT_FILE:,}")
    member = kit.extractfile(info)
    assert member is not None  # it is a regular file
    return member.read()
