"""How long to go on trying: so many times, with a random wait between, and never past a deadline."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass


class TransientError(Exception):
    """A fault that another try may not meet."""


class GaveUpError(Exception):
    """Every try met a fault. The message says how many there were, in what time, and the last one."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How often to try, and how long to wait before each further try.

    The n-th wait is drawn evenly from 0 to first_wait x 2**n seconds, and to longest_wait at most (full jitter:
    those who were turned away together do not come back together). Eight waits are 13 s on average.
    """

    tries: int = 9  # so that 8 faults in a row are survived
    first_wait: float = 0.1
    longest_wait: float = 20.0

    def persist(
        self,
        attempt: Callable[[], None],
        seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Call `attempt` until it raises no TransientError. GaveUpError after `tries`, or about `seconds`."""
        began = clock()
        for failed in range(self.tries):
            try:
                return attempt()
            except TransientError as error:
                last = error
            wait = draw() * min(self.longest_wait, self.first_wait * 2**failed)
            if failed + 1 == self.tries or clock() + wait > began + seconds:
                break
            sleep(wait)
        raise GaveUpError(f"gave up after {failed + 1} tries in {clock() - began:.0f} s: {last}")
