"""What can go wrong with data, as one typed family.

DataError            something on disk, in S3 or in a shard is not what it should be (exit code 1)
├── DataUsageError   the caller asked for something that cannot be (exit code 2)
└── DataProcessError a data process died or stalled: the data is whole, and another try may go well (exit code 1)

Every message names the value, the limit and the knob. All are picklable, so they cross a Ray cluster whole.
"""

from typing import ClassVar


class DataError(Exception):
    """Data is missing, damaged or contradicts its manifest."""

    exit_code: ClassVar[int] = 1


class DataUsageError(DataError):
    """The request itself cannot be served, whatever the data."""

    exit_code: ClassVar[int] = 2


class DataProcessError(DataError):
    """A process that reads and decodes was killed, or delivers nothing."""
