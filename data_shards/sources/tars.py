"""Plain tar archives read in place: their headers are listed, nothing is ever extracted or written.

An archive is not trusted. A member that a careless `extractall` would let out of its folder, or that is anything
but a file or a folder, is refused by its name; so is an archive that is cut off, even between two members, where
Python's tarfile sees nothing but the end.
"""

import io
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple, Protocol, cast

from data_shards.errors import DataError
from data_shards.tarwalk import ODD_KNOB, oddity

MAX_MEMBERS = 500_000
"""Per archive. The largest of ImageNet's holds 50,000 (validation) or 21,841 (all class archives of 22K)."""

MAX_HEADER = 1 << 20
"""Bytes of one extended header; tarfile reads it whole, and a name needs a few hundred."""

BLOCK = 512
GZIP = b"\x1f\x8b"
HOSTILE = (tarfile.TarError, ValueError, OverflowError, IndexError)
"""What tarfile raises for headers that are none."""


@dataclass(frozen=True, kw_only=True)
class Tar:
    """A tar archive: a stretch of a file. `name` is what people call it."""

    path: Path
    start: int
    size: int
    name: str

    def starts_with(self, magic: bytes) -> bool:
        """Whether the archive's first bytes are `magic`."""
        with self.path.open("rb", buffering=0) as file:
            return os.pread(file.fileno(), len(magic), self.start) == magic


class Member(NamedTuple):
    """A regular file in an archive: its bytes are `size` from `offset` of the file that the archive lies in."""

    name: str
    offset: int
    size: int


def tar_file(path: Path) -> Tar:
    """The archive that is a whole file. DataError where it cannot be read."""
    try:
        return Tar(path=path, start=0, size=path.stat().st_size, name=str(path))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None


class Window:
    """A stretch of a file as a file of its own, of which only headers are read. `last` is what came last."""

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        self._handle, self._start, self._size, self._at = file.fileno(), start, size, 0
        self.last = b""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes. tarfile.ReadError above MAX_HEADER."""
        rest = max(self._size - self._at, 0)
        self.last = os.pread(self._handle, min(header_size(size), rest), self._start + self._at)
        self._at += len(self.last)
        return self.last

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move, without reading; tarfile counts from the start only."""
        assert whence == io.SEEK_SET
        self._at = offset
        return self._at

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at


def header_size(asked: int) -> int:
    """`asked`; tarfile.ReadError where no header can be as long."""
    if not 0 <= asked <= MAX_HEADER:
        raise tarfile.ReadError(f"a header of {asked:,} bytes, the limit is {MAX_HEADER:,}")
    return asked


def members(tar: Tar, most: int = MAX_MEMBERS) -> Iterator[Member]:
    """The regular files of a plain tar, in its order, by headers alone.

    DataError names archive and member for: names that are absolute or hold "..", links, devices, FIFOs, sparse
    files, more than `most` members, a member that goes beyond the end, and an end that is none.
    """
    try:
        with tar.path.open("rb", buffering=0) as file:
            window = Window(file, tar.start, tar.size)
            for _, info in walk(window, tar.name, most):
                if info.offset_data + info.size > tar.size:
                    raise DataError(
                        f"{tar.name} is cut off: {info.name!r} needs {info.size:,} bytes from byte "
                        f"{info.offset_data:,}, and the archive has {tar.size:,}. Get it again"
                    )
                yield Member(info.name, tar.start + info.offset_data, info.size)
    except OSError as error:
        raise DataError(f"cannot read {tar.path}: {error.strerror}") from None


class Blocks(Protocol):
    """What a tar is listed from: a file that remembers what the last read gave."""

    last: bytes

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes."""
        ...

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move there."""
        ...

    def tell(self) -> int:
        """Where the next read begins."""
        ...


def walk(
    blocks: Blocks, name: str, most: int = MAX_MEMBERS
) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """The regular files of the tar in `blocks`. DataError as in `members`, but for what goes beyond the end."""
    try:
        with tarfile.open(fileobj=cast(IO[bytes], blocks), mode="r:") as headers:
            for count, info in enumerate(headers):
                if count >= most:
                    raise DataError(
                        f"{name} has more than {most:,} members: no archive of images has that many. Split it"
                    )
                if odd := oddity(info, info.name):
                    raise DataError(f"{name} holds {info.name!r}, {odd}: refused. {ODD_KNOB}")
                if info.isreg():
                    yield headers, info
                headers.members.clear()  # type: ignore[attr-defined]  # or it keeps all it has seen
            if blocks.last != bytes(BLOCK):
                raise DataError(
                    f"{name} is cut off or damaged at byte {headers.offset:,}: no header and no end of an archive "
                    "is there. Get it again"
                )
    except HOSTILE as error:
        raise DataError(f"{name} is no plain tar archive, or is damaged: {error}") from None
