"""Elastic: how many workers an attempt has. A lost host makes them fewer and one that comes back more.

The global batches stay what they are: which samples a step has is no matter of workers, only who reads them is.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from raytrain.plan import Placement, RunPlan
from raytrain.plan.fit import micro_batches
from raytrain.stopping import STOP_FILE

LOOK_SECONDS = 3.0


def placed(plan: RunPlan, room: int) -> Placement | None:
    """The plan's placement on as many of its workers as there is room for, or None where there is none.

    A number of workers will do if the global batch divides over them. Each then takes the plan's micro-batch, or the
    nearest smaller one: never a larger, whose memory the plan did not look at. What ZeRO splits among them (the
    optimizer's state, at stage 2 the gradients) does grow per worker, and the stage stays the plan's.
    """
    placement = plan.placement
    if room >= placement.workers:
        return placement
    for workers in range(room, 0, -1):
        sizes = [size for size in micro_batches(plan.recipe, workers) if size <= placement.micro_batch]
        if plan.recipe.global_batch % workers == 0 and sizes:
            accumulation = plan.recipe.global_batch // (workers * sizes[-1])
            return placement.model_copy(
                update={"workers": workers, "micro_batch": sizes[-1], "accumulation": accumulation}
            )
    return None


@dataclass
class Watch:
    """What was seen while an attempt went on: `changed` once another number of workers fits than is at work."""

    changed: threading.Event = field(default_factory=threading.Event)


@contextmanager
def watching(
    run: Path, plan: RunPlan, at_work: int, room: Callable[[], int], every: float = LOOK_SECONDS
) -> Iterator[Watch]:
    """Ask the attempt to stop after its step, with a checkpoint, once another number of workers fits.

    A host that came back makes room; one that is about to be taken away (drained) gives none any more.
    """
    watch, over = Watch(), threading.Event()

    def look() -> None:
        while not over.wait(every):
            fits = placed(plan, room())
            if fits is None or fits.workers != at_work:
                watch.changed.set()
                (run / STOP_FILE).touch()
                return

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        over.set()
        thread.join()
