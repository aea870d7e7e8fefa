"""ImageNet's archives in miniature, and hostile ones."""

import gzip
import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

CAT, DOG, EMU = "n00000001", "n00000002", "n00000003"


def photo(
    seed: int = 0, size: tuple[int, int] = (20, 16), mode: str = "RGB", form: str = "JPEG", **options
) -> bytes:
    """An encoded picture; every seed is another one."""
    pixels = np.random.Generator(np.random.Philox(seed)).integers(0, 255, (size[1], size[0], 3), np.uint8)
    raw = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(raw, form, **options)
    return raw.getvalue()


def rotated() -> bytes:
    """A JPEG whose EXIF says: turn me."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return photo(90, exif=exif)


def tar(members: Iterable[tuple[str, bytes]]) -> bytes:
    """A plain tar of files."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return raw.getvalue()


def tar_of(info: tarfile.TarInfo) -> bytes:
    """A tar of a picture, then this member."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as archive:
        picture = tarfile.TarInfo("n00000001_1.JPEG")
        picture.size = 4
        archive.addfile(picture, io.BytesIO(b"\xff\xd8\xff\xd9"))
        archive.addfile(info)
    return raw.getvalue()


def pictures(classes: Iterable[str] = (CAT, DOG, EMU), each: int = 7) -> dict[str, dict[str, bytes]]:
    """Images by class and name, odd ones among them: what ImageNet's files are like."""
    drawn = {
        wnid: {f"{wnid}_{n}.JPEG": photo(100 * place + n) for n in range(each)}
        for place, wnid in enumerate(classes)
    }
    first = drawn[next(iter(drawn))]
    names = iter(sorted(first))
    first[next(names)] = photo(91, mode="CMYK")
    first[next(names)] = rotated()
    first[next(names)] = photo(92, mode="L")
    first[next(names)] = photo(93, form="PNG")  # named .JPEG
    return drawn


def class_tars(drawn: dict[str, dict[str, bytes]]) -> dict[str, bytes]:
    """A tar for each class, by its file name; members in no order, as in the real ones."""
    return {f"{wnid}.tar": tar(reversed(images.items())) for wnid, images in drawn.items()}


def write_folder(drawn: dict[str, dict[str, bytes]], root: Path) -> Path:
    for wnid, images in drawn.items():
        (root / wnid).mkdir(parents=True)
        for name, raw in images.items():
            (root / wnid / name).write_bytes(raw)
    return root


def write_layout(layout: str, drawn: dict[str, dict[str, bytes]], root: Path) -> Path:
    """One of the layouts that 1K and 22K are handed out in, under `root`; what SRC is to be."""
    root.mkdir(parents=True, exist_ok=True)
    tars = class_tars(drawn)
    if layout == "folder":
        return write_folder(drawn, root / "folder")
    if layout == "ILSVRC2012_img_train.tar":
        (root / layout).write_bytes(tar(tars.items()))
    elif layout == "fall11_whole.tar":  # in another order, beside things of no use
        members = [("./fall11/README", b"hi"), *((f"./fall11/{name}", raw) for name, raw in tars.items())]
        (root / layout).write_bytes(tar(reversed(members)))
    elif layout == "winter21_whole.tar.gz":
        raw = tar((f"winter21_whole/{name}", raw) for name, raw in tars.items())
        (root / layout).write_bytes(gzip.compress(raw))
    elif layout == "whole of gzipped":
        (root / layout).write_bytes(tar((f"{name}.gz", gzip.compress(raw)) for name, raw in tars.items()))
    elif layout == "gzipped of gzipped":
        (root / layout).write_bytes(
            gzip.compress(tar((f"{name}.gz", gzip.compress(raw)) for name, raw in tars.items()))
        )
    elif layout in ("class tars", "gzipped class tars"):
        (root / layout).mkdir()
        for name, raw in tars.items():
            zipped = layout.startswith("gzipped")
            (root / layout / (f"{name}.gz" if zipped else name)).write_bytes(
                gzip.compress(raw) if zipped else raw
            )
    return root / layout


LAYOUTS = (
    "ILSVRC2012_img_train.tar",
    "fall11_whole.tar",
    "winter21_whole.tar.gz",
    "whole of gzipped",
    "gzipped of gzipped",
    "class tars",
    "gzipped class tars",
)
