"""An object read once, from front to back, in pieces: its bytes are hashed as they come, and none is kept."""

import hashlib

from data_shards.errors import DataError
from data_shards.store.base import Store

PIECE = 8 * 2**20
"""Bytes per read, and all that is held in memory of an object."""


class Stream:
    """A file-like reader of one key, forward only. What is passed over is read and hashed all the same."""

    def __init__(self, store: Store, key: str) -> None:
        """Raises NotFoundError where there is no such key."""
        self.size = store.size(key)
        self._store, self._key = store, key
        self._piece, self._begin, self._at = b"", 0, 0
        self._digest = hashlib.sha256()

    def read(self, size: int, /) -> bytes:
        """`size` bytes, or what is left."""
        parts = []
        while size > 0 and self._here():
            offset = self._at - self._begin
            parts.append(self._piece[offset : offset + size])
            self._at += len(parts[-1])
            size -= len(parts[-1])
        return b"".join(parts)

    def seek(self, offset: int, /) -> int:
        """Move on to that byte, or to the end. Never back."""
        assert offset >= self._at, "a stream goes forward only"
        while self._at < offset and self._here():
            self._at = min(offset, self._begin + len(self._piece))
        return self._at

    def sha256(self) -> str:
        """Of the whole object; reads what is left of it. DataError where it is not of its size any more."""
        if self.seek(self.size) != self.size:
            raise DataError(f"{self._store.url}/{self._key} became shorter while it was read")
        return self._digest.hexdigest()

    def _here(self) -> bool:
        """Whether there is a byte at the position; fetches the piece that holds it."""
        if self._at < self._begin + len(self._piece):
            return True
        self._begin = self._at
        self._piece = self._store.read(self._key, self._begin, min(PIECE, self.size - self._begin))
        self._digest.update(self._piece)
        return bool(self._piece)
