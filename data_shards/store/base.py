"""The store's verbs, and the one place that turns a URL into a store."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from data_shards.errors import DataError, DataUsageError


class NotFoundError(DataError):
    """There is no such key. The same type for every store."""


class TakenError(DataError):
    """Somebody else wrote that key meanwhile."""


class DeniedError(DataError):
    """It may be there, and these credentials may not do that to it."""


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """A write of `key` that has not ended: of a writer at work, or of one that was killed.

    `begun` is in seconds since the epoch. `bytes` have come so far, None where that may not be asked. `token` tells
    it from other writes of the key.
    """

    key: str
    begun: float
    bytes: int | None
    token: str


class Store(Protocol):
    """A flat map from keys ("shards/a.tar") to bytes. A key holds a whole object or nothing."""

    url: str

    def list(self, prefix: str) -> list[str]:
        """All keys that start with `prefix`, sorted."""
        ...

    def size(self, key: str) -> int:
        """The object's size in bytes. Raises NotFoundError."""
        ...

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """`length` bytes from `start`, or all that follow. Raises NotFoundError."""
        ...

    def write(self, key: str, content: bytes | Path) -> None:
        """Put the bytes, or the file's bytes, under `key` in one step; durable when it returns."""
        ...

    def delete(self, key: str) -> None:
        """Remove `key` and what a killed write of it left; no error where it is gone already."""
        ...

    def unfinished(self, prefix: str) -> tuple[Unfinished, ...]:
        """The writes of keys that start with `prefix` which have not ended, oldest first. Raises DeniedError."""
        ...

    def abort(self, write: Unfinished) -> None:
        """End such a write, and give back its bytes; no error where it has ended meanwhile."""
        ...


def open_store(url: str) -> Store:
    """The store rooted at `url`: a local path, file:// or s3://bucket/prefix."""
    if url.startswith("s3://"):
        from data_shards.store.s3 import S3Store

        return S3Store(url)
    path = url.removeprefix("file://")
    if "://" in path:
        raise DataUsageError(
            f"cannot open '{url}': a data URL is a local path, file:// or s3://bucket/prefix"
        )
    from data_shards.store.local import LocalStore

    return LocalStore(Path(path))
