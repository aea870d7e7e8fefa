"""Batches made ahead of their use, in order: by processes, or by one thread of the caller's.

Processes hand batches over in shared memory: /dev/shm must hold AHEAD micro-batches per process (a container's
default of 64 MB does not).
"""

import multiprocessing
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Protocol, TypeVar, cast

import torch
from torch.utils.data import DataLoader, Dataset

from data_shards.errors import DataError, DataProcessError
from data_shards.order import Ints

STALL_SECONDS = 120
"""A process that delivers nothing for so long, from a local disk, is stuck. From S3 there is no such limit: the
first batches wait for whole shards (512 of them, 57 GB, for ImageNet-1K), and the S3 client has limits of its own.
"""

AHEAD = 2
"""Micro-batches that each process, or the one background thread, prepares beyond the one in use."""

PRELOAD = ["data_shards.loader", "torchvision.io"]
"""Imported once by the server that the processes are forked from: 7 s once, not 7 s per process."""

Made = TypeVar("Made", covariant=True)


class Source(Protocol[Made]):
    """Makes the batch of some slots. Errors are returned: DataLoader would turn them into a traceback's text."""

    def __getitem__(self, slots: Ints) -> Made | DataError:
        """The batch, or what is wrong."""
        ...


def prefetch(
    source: Source[Made], shares: Iterator[Ints], processes: int, *, remote: bool
) -> Generator[Made]:
    """The batches of `shares` (int64 [b] of slots each), in order, made ahead by `processes`, or by a thread if 0.

    Close it to end them.
    Raises the DataError that the source returned, or a DataProcessError where a process died or stalled.
    """
    batches = _by_processes(source, shares, processes, remote) if processes else _by_thread(source, shares)
    try:
        for batch in batches:
            if isinstance(batch, DataError):
                raise batch
            yield batch
    finally:
        batches.close()


def _by_thread(source: Source[Made], shares: Iterator[Ints]) -> Generator[Made | DataError]:
    with ThreadPoolExecutor(1, thread_name_prefix="raytrain-data") as pool:
        waiting = deque(pool.submit(source.__getitem__, slots) for slots in islice(shares, AHEAD))
        try:
            while waiting:
                batch = waiting.popleft().result()
                waiting.extend(pool.submit(source.__getitem__, slots) for slots in islice(shares, 1))
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)


def _by_processes(
    source: Source[Made], shares: Iterator[Ints], processes: int, remote: bool
) -> Generator[Made | DataError]:
    context = multiprocessing.get_context("forkserver")  # fork is unsafe beside Ray's and CUDA's threads
    context.set_forkserver_preload(PRELOAD)
    loader: DataLoader[Made | DataError] = DataLoader(
        cast("Dataset[Made | DataError]", source),
        batch_size=None,  # the source makes whole batches
        sampler=shares,
        num_workers=processes,
        prefetch_factor=AHEAD,
        multiprocessing_context=context,
        timeout=0 if remote else STALL_SECONDS,  # 0 still notices a death
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # or it would draw from the global one, which belongs to the model
    )
    try:
        yield from loader
    except (RuntimeError, OSError, EOFError) as error:  # a death shows as any of them
        raise DataProcessError(
            f"a data process died or stalled: {error}. If it was killed, give the machine more memory, more "
            f"room in /dev/shm, or use fewer than {processes} processes; with 0 the decoding runs in the trainer"
        ) from error
