"""The progress bars of long work: on a terminal only, on stderr, gone when the work is done."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

SPEED_PERIOD = 120.0
"""Seconds over which the speed is taken: shards end in bursts, one from each worker."""


class SpeedColumn(ProgressColumn):
    """How many a second; what was done before the first update counts for nothing."""

    def render(self, task: Task) -> Text:
        """Empty until it is known."""
        return Text(f"{task.speed:,.0f}/s" if task.speed else "", style="progress.data.speed")


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yields `advance(by, of)`: `by` more are done, of a total of `of`."""
    with progress_bars(what) as (advance,):
        yield advance


@contextmanager
def progress_bars(*whats: str) -> Iterator[list[Callable[[int, int], None]]]:
    """Yields an `advance` as `progress_bar` does for each of `whats`, whose bar shows once it is called."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        SpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
        speed_estimate_period=SPEED_PERIOD,
    ) as bars:
        yield [partial(_advance, bars, bars.add_task(what, total=None, visible=False)) for what in whats]


def _advance(bars: Progress, task: TaskID, by: int, of: int) -> None:
    bars.update(task, advance=by, total=of or None, visible=True)
