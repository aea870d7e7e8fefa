"""One way to read and write bytes, on a disk or in S3: five verbs behind `open_store(url)`."""

from data_shards.store.base import NotFoundError, Store, open_store

__all__ = ["NotFoundError", "Store", "open_store"]
