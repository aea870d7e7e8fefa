"""Walk the frame of a tar, header by header: which members are there, and which bytes are theirs.

Python's tarfile takes a damaged header for the end of the archive and says nothing; here it is an error with its
byte. ustar, GNU tar's long names and pax headers are known. Nothing is unpacked, and no content is looked at.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from data_shards.errors import DataError
from data_shards.index import TAR_BLOCK

MAX_MEMBERS = 500_000
"""Headers of one tar. A shard of 10,000 samples (img2dataset's default) has 30,000."""

MAX_HEADER = 1 << 20
"""Bytes of one extended header: a name needs a few hundred."""


class TarFaultError(DataError):
    """What is wrong with a tar, and the byte it begins at."""

    def __init__(self, offset: int, what: str) -> None:
        super().__init__(offset, what)
        self.offset, self.what = offset, what

    def __str__(self) -> str:
        return f"byte {self.offset:,}: {self.what}"


@dataclass(frozen=True, kw_only=True)
class Member:
    """A regular file in the tar: its bytes are [start, start + size)."""

    name: str
    start: int
    size: int

    @property
    def padded_end(self) -> int:
        """Where the next header may begin."""
        return self.start + _padded(self.size)


class Forward(Protocol):
    """What can be read from front to back."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes, fewer only at the end."""
        ...

    def seek(self, offset: int, /) -> int:
        """Move on to that byte."""
        ...


def walk(tar: Forward, length: int) -> Iterator[Member]:
    """The regular files of a tar of `length` bytes, in its order. Their content may be read between two of them.

    Raises TarFaultError at a damaged header, at the end of a file without an end mark, at a member that goes
    beyond it, at one that is odd (`oddity`) and above MAX_MEMBERS.
    """
    at = count = 0
    name, size = None, None  # what an extended header says of the next member
    while (info := _header(tar, at, count)) is not None:
        start, count = at + TAR_BLOCK, count + 1
        if size is not None:
            info.size = size
        holds = info.size if info.isreg() or info.type not in tarfile.SUPPORTED_TYPES else 0
        if info.type in EXTENDED:
            holds = info.size
        if not start <= start + holds <= length:
            raise TarFaultError(at, f"{info.name} has {info.size} bytes, the file ends before")
        if count > MAX_MEMBERS:
            raise TarFaultError(at, f"more than {MAX_MEMBERS:,} members: no shard has that many. Split it")
        at = start + _padded(holds)
        if info.type in EXTENDED:
            told_name, told_size = _extended(info.type, start, _content(tar, start, info.size))
            name, size = told_name or name, size if told_size is None else told_size
            continue
        if odd := oddity(info, name or info.name):
            raise TarFaultError(start - TAR_BLOCK, f"{name or info.name!r}, {odd}: refused. {ODD_KNOB}")
        if info.isreg():
            yield Member(name=name or info.name, start=start, size=info.size)
        name, size = None, None


PLAIN_TYPES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE)
ODD_KNOB = "Archives of images have files only: get it again, or make it anew without that"


def oddity(info: tarfile.TarInfo, name: str) -> str | None:
    """What a member called `name` has that one of ours never has: a careless `extractall` would follow it."""
    if name.startswith("/") or ".." in PurePosixPath(name).parts:
        return "its name leads out of the archive"
    if info.issym() or info.islnk():
        return f"a link to {info.linkname!r}"
    if info.isdev():
        return "a device or FIFO"
    if info.type == tarfile.GNUTYPE_SPARSE or info.sparse is not None:
        return "a sparse file, whose bytes are not in one piece"
    if info.size < 0 or info.type not in PLAIN_TYPES:
        return f"of type {info.type!r}"
    return None


EXTENDED = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)


def _padded(size: int) -> int:
    return -(-size // TAR_BLOCK) * TAR_BLOCK


def _header(tar: Forward, at: int, count: int) -> tarfile.TarInfo | None:
    """The header at byte `at`, None for an end mark."""
    tar.seek(at)
    try:
        return tarfile.TarInfo.frombuf(tar.read(TAR_BLOCK), "utf-8", "surrogateescape")
    except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
        return None
    except tarfile.EmptyHeaderError:  # type: ignore[attr-defined]
        raise TarFaultError(at, f"no end mark behind {count} members: the file is cut off") from None
    except tarfile.HeaderError:
        raise TarFaultError(at, f"the header of member {count} is damaged") from None


def _content(tar: Forward, start: int, size: int) -> bytes:
    if size > MAX_HEADER:
        raise TarFaultError(start, f"an extended header of {size:,} bytes: the limit is {MAX_HEADER:,}")
    return tar.read(size)


def _extended(kind: bytes, start: int, content: bytes) -> tuple[str | None, int | None]:
    """(name, size) of the next member, as far as an extended header says them."""
    if kind == tarfile.GNUTYPE_LONGNAME:
        return content.split(b"\0")[0].decode("utf-8", "surrogateescape"), None
    if kind not in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
        return None, None
    told = _records(start, content)
    path, size = told.get(b"path"), told.get(b"size", b"0")
    if not size.isdigit() or len(size) > 18:
        raise TarFaultError(start, f"a pax header that says size {size[:20]!r}")
    return (
        None if path is None else path.decode("utf-8", "surrogateescape"),
        int(size) if b"size" in told else None,
    )


def _records(start: int, content: bytes) -> dict[bytes, bytes]:
    """The records of a pax header: "LENGTH KEY=VALUE\\n" each, where LENGTH counts all of it."""
    told = {}
    while content.strip(b"\0"):
        digits, _, _ = content.partition(b" ")
        length = int(digits) if digits.isdigit() and len(digits) < 8 else 0
        key, equals, value = content[len(digits) + 1 : length].partition(b"=")
        if not equals or not value.endswith(b"\n"):
            raise TarFaultError(start, "a pax header that is damaged")
        told[key], content = value[:-1], content[length:]
    return told
