"""The process of one network: prepares its contenders, then lets them take turns, each for some steps per round.

    python -m contenders.child CASE SECONDS     (CASE as JSON; in benchmarks/, with the repository on PYTHONPATH)

It prints a line of JSON for each contender that is ready or left out, then `prepared`; on a line with a number of
seconds on its standard input it measures for at most so long, and prints a line per round.
"""

import gc
import json
import math
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from contenders.contender import ROWS, Case, Contender, LeftOutError, Row

WARM_UP = 3
Tell = Callable[[dict[str, Any]], None]


def main() -> None:
    """Prepare, say so, wait for the turn, measure."""
    case, seconds = Case(*json.loads(sys.argv[1])), float(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    warnings.simplefilter("ignore")

    def tell(answer: dict[str, Any]) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    contenders = prepare(case, ROWS, seconds, tell)
    tell({"prepared": True, "device": device_name(case.device), "timm": timm_version()})
    measure(case, contenders, float(sys.stdin.readline()), tell)


def prepare(case: Case, rows: list[Row], seconds: float, tell: Tell) -> dict[str, Contender]:
    """Contenders by title. One that fails, or for which no time is left, is told with the reason."""
    import torch

    began, longest = time.monotonic(), 0.0
    ready: dict[str, Contender] = {}
    for row in rows:
        started = time.monotonic()
        try:
            if row.compiled and not case.compiled:
                raise LeftOutError("torch.compile was not asked for")
            if started - began + longest > seconds:
                raise LeftOutError(
                    f"no time: {started - began:.0f} of {seconds:.0f} s for preparing are gone, and the slowest "
                    f"contender took {longest:.0f}"
                )
            with no_longer_than(began + seconds - started):
                ready[row.title], peak = warm_up(row, case)
        except Exception as error:  # noqa: BLE001 -- whatever a library does, the others are compared
            tell({"row": row.title, "out": reason(error)})
        else:
            longest = max(longest, time.monotonic() - started)
            tell({"row": row.title, "peak_bytes": peak, "warm_up_seconds": time.monotonic() - started})
        gc.collect()
        if case.device == "cuda":
            torch.cuda.empty_cache()
    return ready


@contextmanager
def no_longer_than(seconds: float) -> Iterator[None]:
    """Raise LeftOutError inside when they are over: a compiler may take any time, and the others are to be measured."""

    def late(*_: object) -> None:
        raise LeftOutError(f"no time: its first steps were not done in {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def reason(error: BaseException) -> str:
    """Our own message, also where the compiler wrapped it; else the first line of its, with its kind."""
    ours: BaseException | None = error
    while ours is not None:
        if isinstance(ours, LeftOutError):
            return str(ours)
        ours = ours.__cause__ or ours.__context__
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


def warm_up(row: Row, case: Case) -> tuple[Contender, int | None]:
    """The contender after WARM_UP steps, and the peak of GPU memory that one more step takes with all that it holds.

    Other contenders hold weights and optimizer state meanwhile, which do not count. None on a CPU.
    """
    import torch

    gpu = case.device == "cuda"
    others = torch.cuda.memory_allocated() if gpu else 0
    contender = import_module(f"contenders.{row.module}").open_contender(
        case, compiled=row.compiled, **row.options
    )
    turn(contender, case, WARM_UP)
    if not gpu:
        return contender, None
    torch.cuda.reset_peak_memory_stats()
    turn(contender, case, 1)
    return contender, torch.cuda.max_memory_allocated() - others


def measure(case: Case, contenders: dict[str, Contender], seconds: float, tell: Tell) -> None:
    """Rounds of turns, the order alternating, each round told as seconds per step by title; none begun too late."""
    began, longest = time.monotonic(), 0.0
    for number in range(case.rounds):
        started = time.monotonic()
        if started - began + longest > seconds:
            return
        took = {}
        for title in list(contenders)[:: -1 if number % 2 else 1]:
            turn(contenders[title], case, case.settle)
            took[title] = turn(contenders[title], case, case.steps)
        tell({"round": took})
        longest = max(longest, time.monotonic() - started)


def turn(contender: Contender, case: Case, steps: int) -> float:
    """Seconds per step, on a CPU those of the processor: there the process has one thread, and perhaps busy neighbours.

    LeftOutError where the loss is not finite: a step that is skipped is no step.
    """
    import torch

    clock = time.perf_counter if case.device == "cuda" else time.process_time
    torch.backends.cudnn.benchmark = contender.cudnn_benchmark
    if case.device == "cuda":
        torch.cuda.synchronize()
    began = clock()
    losses = [contender.step() for _ in range(steps)]
    if case.device == "cuda":
        torch.cuda.synchronize()
    took = clock() - began
    if not all(math.isfinite(loss) for loss in losses):
        raise LeftOutError(f"the losses are not finite: {losses}")
    return took / max(1, steps)


def device_name(device: str) -> str:
    """The GPU's, as its driver has it."""
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else device


def timm_version() -> str | None:
    """None where it is not installed."""
    try:
        return version("timm")
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
