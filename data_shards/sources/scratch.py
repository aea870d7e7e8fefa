"""What is gzipped is streamed once, class by class, into plain class archives on a scratch disk.

SCRATCH/<archive's name>/n01440764.tar    whole or not there: a run that was killed goes on behind them
SCRATCH/<archive's name>/source.json      what was unpacked here, and whether all of it
"""

import gzip
import hashlib
import io
import os
import re
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, cast

from pydantic import ValidationError

from data_shards.errors import DataError, DataUsageError
from data_shards.pool import OnDone
from data_shards.shardset import Value
from data_shards.sources.tars import GZIP, Tar, Window, header_size, walk
from data_shards.store.local import space_for

NOTE = "source.json"
CHUNK = 1 << 20
MAX_RATIO = 100
"""Bytes out per byte in. Images hardly shrink; gzip's own limit is 1,032, and only a bomb comes near it."""


class _Note(Value):
    """What lies in a folder of unpacked class archives; `source` is a digest of sizes and first bytes."""

    source: str
    complete: bool


class Readable(Protocol):
    """A stream: a GzipFile or what lies in an archive."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes."""
        ...


@dataclass(frozen=True, kw_only=True)
class Scratch:
    """A folder for unpacked archives, or None where there is none."""

    root: Path | None

    def unpack(self, archive: Path, wanted: re.Pattern[str], on_unpacked: OnDone) -> Path:
        """Unpack the class archives of a gzipped `archive` (those whose name `wanted` matches); the folder.

        `on_unpacked(1, 0)` is told of each. Raises DataError as `tars.members` does, for a damaged stream, a full
        disk and a bomb.
        """
        folder = self._claim(archive, _head(archive))
        note = _Note.model_validate_json((folder / NOTE).read_bytes())
        if note.complete:
            return folder
        with archive.open("rb") as raw, gzip.open(raw) as stream:
            self._unpack_all(archive, _Forward(stream, str(archive)), wanted, folder, on_unpacked)
            for _ in _chunks(stream, str(archive)):  # to its end, where the checksum is
                pass
        _write_note(folder, _Note(source=note.source, complete=True))
        return folder

    def _unpack_all(
        self, archive: Path, stream: "_Forward", wanted: re.Pattern[str], folder: Path, on_unpacked: OnDone
    ) -> None:
        for tar, info in walk(stream, str(archive)):
            match = wanted.fullmatch(info.name)
            if match and not (target := folder / f"{match[1]}.tar").exists():
                member = tar.extractfile(info)
                assert isinstance(member, io.BufferedReader)  # as it is a regular file
                zipped = member.peek(2)[:2] == GZIP
                plain = gzip.GzipFile(fileobj=member) if zipped else member
                _copy(plain, f"{archive}/{info.name}", target, info.size * (MAX_RATIO if zipped else 1))
            on_unpacked(1, 0)

    def gunzip(self, place: Path, tars: dict[str, Tar], on_unpacked: OnDone) -> dict[str, Tar]:
        """Plain copies of gzipped class archives, by WNID."""
        if not tars:
            return {}
        source = hashlib.sha256(repr([(wnid, tar.size) for wnid, tar in tars.items()]).encode()).hexdigest()
        folder, plain = self._claim(place, source), {}
        for wnid, tar in tars.items():
            target = folder / f"{wnid}.tar"
            if not target.exists():
                with tar.path.open("rb", buffering=0) as file:
                    stream = gzip.GzipFile(fileobj=cast(IO[bytes], Window(file, tar.start, tar.size)))
                    _copy(stream, tar.name, target, tar.size * MAX_RATIO)
            plain[wnid] = Tar(path=target, start=0, size=target.stat().st_size, name=tar.name)
            on_unpacked(1, 0)
        return plain

    def _claim(self, place: Path, source: str) -> Path:
        """The folder for what is unpacked of `place`. DataUsageError where another source is in it."""
        if self.root is None:
            raise DataUsageError(
                f"{place} is gzipped, and images cannot be read from within: give --scratch DIR, a folder with "
                "room for the unpacked archive. It can be removed when the set is complete"
            )
        folder = self.root.absolute() / place.name
        try:
            found = _Note.model_validate_json((folder / NOTE).read_bytes()).source
        except FileNotFoundError:
            _write_note(folder, _Note(source=source, complete=False))
        except ValidationError:
            raise DataUsageError(f"{folder / NOTE} is damaged: remove {folder}") from None
        else:
            if found != source:
                raise DataUsageError(
                    f"{folder} holds what was unpacked of another {place.name}: remove it, or choose another --scratch"
                )
        return folder


class _Forward:
    """A gzipped stream as tarfile wants a plain tar to list it. It never goes back; `last` is what came last."""

    def __init__(self, stream: Readable, name: str) -> None:
        self._stream, self._name, self._at, self.last = stream, name, 0, b""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes. DataError where the stream is damaged."""
        self.last = _read(self._stream, header_size(size), self._name)
        self._at += len(self.last)
        return self.last

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Read on to there, or to the end."""
        assert whence == io.SEEK_SET
        assert offset >= self._at, "tarfile never goes back where it lists"
        kept = self.last
        while self._at < offset and self.read(min(CHUNK, offset - self._at)):
            pass
        self.last = kept
        return self._at

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at


def _read(stream: Readable, size: int, name: str) -> bytes:
    try:
        return stream.read(size)
    except (EOFError, gzip.BadGzipFile, zlib.error, tarfile.ReadError) as error:
        raise DataError(f"{name} is cut off or damaged: {error}. Get it again") from None


def _chunks(stream: Readable, name: str) -> Iterator[bytes]:
    while chunk := _read(stream, CHUNK, name):
        yield chunk


def _copy(stream: Readable, name: str, target: Path, limit: int) -> None:
    """All of the stream in `target`, or no such file. DataError where it is damaged or has more than `limit` bytes."""
    draft, written = target.with_name(f".{target.name}.tmp"), 0
    with space_for(target, limit // MAX_RATIO or limit):
        try:
            with draft.open("wb") as file:
                for chunk in _chunks(stream, name):
                    written += len(chunk)
                    if written > limit:
                        raise DataError(
                            f"{name} unpacks to more than {limit:,} bytes, {MAX_RATIO} times its own: refused. "
                            "If you trust it, gunzip it yourself"
                        )
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, target)
        finally:
            draft.unlink(missing_ok=True)


def _write_note(folder: Path, note: _Note) -> None:
    draft = folder / f".{NOTE}.tmp"
    with space_for(folder / NOTE, 4096):
        folder.mkdir(parents=True, exist_ok=True)
        draft.write_text(note.model_dump_json())
        os.replace(draft, folder / NOTE)


def _head(archive: Path) -> str:
    """A digest of the size and the first bytes: enough to tell two releases apart."""
    with archive.open("rb") as file:
        return hashlib.sha256(f"{archive.stat().st_size}\0".encode() + file.read(CHUNK)).hexdigest()
