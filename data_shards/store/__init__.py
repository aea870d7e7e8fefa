"""One way to read and write bytes, on a disk or in S3: the verbs behind `open_store(url)`."""

from data_shards.store.base import DeniedError, NotFoundError, Store, Unfinished, open_store

__all__ = ["DeniedError", "NotFoundError", "Store", "Unfinished", "open_store"]
