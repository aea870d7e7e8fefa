"""Progress: what the driver shows while the workers work. It follows the run's own files, nothing else."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raytrain.plan import RunPlan
from raytrain.runlog import EVALUATIONS, NEWEST, TRANSFER, newest_steps, read_rows

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

RECENT = 50  # steps over which speed is averaged
QUIET = 60.0  # seconds without a line, where there is no bar, before one says how far the run is


@contextmanager
def following(run: Path, plan: RunPlan, *, every: float = 1.0) -> Iterator[None]:
    """Show a bar on a terminal, and a line per evaluation everywhere, until the block ends."""
    done = threading.Event()
    with ExitStack() as stack:
        if sys.stderr.isatty():
            bar, task = _bar(plan)
            stack.enter_context(bar)
            teller = Teller(run, bar.console.print, lambda: _update(bar, task, run))
        else:
            pulse = Pulse(run, plan.lengths.steps, lambda line: print(line, flush=True))
            teller = Teller(run, pulse.say, pulse.beat)
        thread = threading.Thread(target=_follow, args=(teller, done, every), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def _follow(teller: "Teller", done: threading.Event, every: float) -> None:
    while not done.wait(every):
        teller.tell()
    teller.tell()


class Pulse:
    """For logs, which have no bar: a line when nothing was said for a while, then after twice as long, and so on."""

    def __init__(
        self, run: Path, steps: int, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.run, self.steps, self.tell, self.clock = run, steps, say, clock
        self.began = self.said = clock()
        self.wait = QUIET

    def say(self, line: str) -> None:
        """Say something else, after which it is quiet again for a while."""
        self.wait = QUIET
        self._tell(line)

    def beat(self) -> None:
        """Say how far the run is, if it is time."""
        if self.clock() - self.said < self.wait:
            return
        self.wait *= 2
        rows = newest_steps(self.run, RECENT)
        if rows:
            self._tell(
                f"  step {rows[-1]['step']:,} of {self.steps:,}  {speed(rows)}  {left(rows, self.steps)}"
            )
        else:
            self._tell(f"  no step is done yet, after {(self.clock() - self.began) / 60:.0f} min")

    def _tell(self, line: str) -> None:
        self.said = self.clock()
        self.tell(line)


def left(rows: list[dict[str, Any]], steps: int) -> str:
    """How long the rest takes at the speed of these steps."""
    minutes = (steps - rows[-1]["step"]) * sum(row["seconds"] for row in rows) / len(rows) / 60
    return f"about {minutes:.0f} min left" if minutes < 120 else f"about {minutes / 60:.0f} h left"


class Teller:
    """Says once what a run has written since the last time: what a fine-tune carried over, and each evaluation."""

    def __init__(
        self, run: Path, say: Callable[[str], None], update: Callable[[], None] = lambda: None
    ) -> None:
        self.run, self.say, self.update = run, say, update
        self.evaluations = len(read_rows(run / EVALUATIONS))
        self.carried = (run / TRANSFER).exists()

    def tell(self) -> None:
        """Say what is new, and bring the bar up to date."""
        self.update()
        if not self.carried and (self.run / TRANSFER).exists():
            self.carried = True
            for line in json.loads((self.run / TRANSFER).read_text())["lines"]:
                self.say(f"  {line}")
        rows = read_rows(self.run / EVALUATIONS)
        if len(rows) > self.evaluations:
            steps = newest_steps(self.run, NEWEST)
            for row in rows[self.evaluations :]:
                self.say(evaluation_line(row, [m for m in steps if 0 <= row["step"] - m["step"] < RECENT]))
        self.evaluations = len(rows)


def evaluation_line(row: dict[str, Any], recent: list[dict[str, Any]]) -> str:
    """An evaluation in one line, with the speed of the steps before it."""
    ema = f" (EMA {row['ema']['top1']:.1%})" if "ema" in row else ""
    return (
        f"  epoch {row['epoch']:5.1f}  step {row['step']:6d}  top-1 {row['top1']:6.1%}{ema}  top-5 {row['top5']:6.1%}"
        f"  eval loss {row['loss']:.3f}  {speed(recent) if recent else ''}"
    ).rstrip()


def speed(rows: list[dict[str, Any]]) -> str:
    """Training loss, images per second and the share of time spent waiting for data, over some steps."""
    seconds = sum(row["seconds"] for row in rows)
    waiting = sum(row["wait_seconds"] for row in rows)
    images = sum(row["images"] for row in rows)
    losses = [row["loss"] for row in rows if row["loss"] is not None] or [float("nan")]
    return f"loss {losses[-1]:.3f}  {images / seconds:.0f} img/s  data wait {waiting / seconds:.0%}"


def _bar(plan: RunPlan) -> "tuple[Progress, TaskID]":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        BarColumn(bar_width=12),  # the line has to fit 80 columns
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    return bar, bar.add_task("", total=plan.lengths.steps, told="starting workers")


def _update(bar: "Progress", task: "TaskID", run: Path) -> None:
    rows = newest_steps(run, RECENT)
    if rows:
        bar.update(task, completed=rows[-1]["step"], told=speed(rows))
