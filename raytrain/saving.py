"""Saving: a step pays for a copy of the state in host memory; what makes it durable happens behind the steps.

    save     wait for the snapshot before, gather this one (all ranks), hand it to a thread of rank 0's, go on
    behind   digests, files, manifest last; read it back; only then delete older ones (`checkpoint.py`)
    durable  wait until all that was handed over is on the store: before a run may say that it stopped or ended

There is never more than one snapshot at a time. A checkpoint counts once its manifest is on the store: whoever looks
there finds it, whatever became of this process since.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from data_shards.store import Store
from raytrain import checkpoint
from raytrain.engine import Engine, EngineState
from raytrain.manifest import KEEP_CHECKPOINTS
from raytrain.plan import RunPlan
from raytrain.ranks import Ranks
from raytrain.runlog import RunLog
from raytrain.state import TrainState


class Behind:
    """One piece of work at a time, in a thread."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def start(self, work: Callable[[], None]) -> None:
        """Begin it; what was begun before has to be settled."""
        assert self._pending is None, "settle what was begun before"
        self._pending = self._thread.submit(work)

    def settle(self) -> BaseException | None:
        """Wait for its end. What it raised, told once."""
        pending, self._pending = self._pending, None
        return pending.exception() if pending is not None else None

    def close(self) -> None:
        """Let it end."""
        self._thread.shutdown()


class Saver:
    """A run's checkpoints. All ranks call `save` and `durable`, at the same steps; rank 0 has the thread.

    Both raise, on every rank, why the snapshot before could not be written: DataError where the store cannot take it,
    RunError where it does not read back as it was written.
    """

    def __init__(
        self,
        *,
        store: Store,
        plan: RunPlan,
        classes: tuple[str, ...],
        ranks: Ranks,
        log: RunLog,
        send_logs: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store, self.plan, self.classes, self.ranks, self.log = store, plan, classes, ranks, log
        self.send_logs, self.clock, self.behind = send_logs, clock, Behind()

    def save(self, engine: Engine, state: TrainState) -> None:
        """Take a snapshot of this step."""
        began = self.clock()
        self.durable()
        tensors, then = engine.save(), state.model_copy()
        if self.ranks.first:
            stalled = self.clock() - began
            self.behind.start(lambda: self._write(tensors, then, stalled))

    def durable(self) -> None:
        """Wait until all that was saved is on the store."""
        problem = self.ranks.from_first(self.behind.settle())
        if problem is not None:
            raise problem

    def close(self) -> None:
        """Let the last write end, on a rank that ends by whatever error: it is as good as any."""
        self.behind.close()

    def _write(self, tensors: EngineState, state: TrainState, stalled: float) -> None:
        """Make a snapshot durable. Its event says so: `seconds` were the step's, `behind` the thread's."""
        began = self.clock()
        try:
            self.send_logs()  # first: whoever finds the checkpoint finds its ledger
            checkpoint.save(self.store, self.plan, self.classes, state, tensors, self.ranks.world)
            checkpoint.prune(self.store, state.step, keep=KEEP_CHECKPOINTS, best=state.best_step)
        except Exception as error:
            self.log.event("checkpoint_failed", step=state.step, problem=str(error))
            raise
        self.log.event("checkpoint", step=state.step, seconds=stalled, behind=self.clock() - began)
