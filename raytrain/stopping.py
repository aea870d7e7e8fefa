"""Stopping a run: a file in its folder asks it to end after its step, with a checkpoint; signals put it there."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

STOP_FILE = "stop"


@contextmanager
def stopping_politely(run: Path, say: Callable[[str], None]) -> Iterator[threading.Event]:
    """On SIGTERM or Ctrl-C ask the workers to stop with a checkpoint; the run then ends with ResumeLater, exit code 75.

    Yields whether it was asked by a signal.

    A second Ctrl-C does not wait for them. Set after Ray has connected: it takes SIGTERM for itself. Only a main
    thread can; a sweep's trial has none.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and (run / STOP_FILE).exists():
            raise KeyboardInterrupt
        again = "; Ctrl-C again stops at once" if number == signal.SIGINT else ""
        say(f"{signal.Signals(number).name}: stopping after this step, with a checkpoint{again}")
        asked.set()
        (run / STOP_FILE).touch()

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
