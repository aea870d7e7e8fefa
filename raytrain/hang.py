"""Hangs: a worker whose step takes far too long writes down where each of its threads is.

It does so by itself: a worker that waits for a lost one in a collective cannot be asked. Which worker is the one that
does not answer, Ray finds (`HEALTH_SECONDS`); the others' stacks tell what they waited for.
"""

import faulthandler
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

HEALTH_SECONDS = 30
"""A worker that has not answered for so long is lost: stopped, or on a host that nobody reaches."""

LEAST_SECONDS = 20.0
"""Stacks are written after 10 median steps, and after this at the least: before Ray ends the workers."""

KNOWN_STEPS = 5
"""Steps before anything is called long: the first compile and fill caches."""


class HangWatch:
    """One worker's. `file` gets the stacks; it is as long as the longest hang, or empty."""

    def __init__(self, file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        file.parent.mkdir(exist_ok=True)
        self.file, self.clock = file.open("w"), clock
        self.seconds: deque[float] = deque(maxlen=50)

    @contextmanager
    def step(self) -> Iterator[None]:
        """One step."""
        began = self.clock()
        if len(self.seconds) >= KNOWN_STEPS:
            faulthandler.dump_traceback_later(self.limit, file=self.file)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            self.seconds.append(self.clock() - began)

    @property
    def limit(self) -> float:
        """Seconds after which a step is too long."""
        return max(LEAST_SECONDS, 10 * median(self.seconds))

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def stacks_file(run: Path, rank: int) -> Path:
    """Where a worker writes its stacks."""
    return run / "workers" / f"rank-{rank}.stacks"
