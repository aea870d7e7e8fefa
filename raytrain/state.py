"""TrainState: all that changes while a run goes on, but for the engine's tensors.

There is no generator state in it: the data order, the crops, mixup and drop path are pure functions of
(seed, samples seen) or (seed, step, rank), so a run continues exactly from these few numbers.
"""

from pydantic import BaseModel, ConfigDict


class TrainState(BaseModel):
    """The run's clockwork. `samples_seen` is the position in the data's order; `step` counts optimizer steps tried."""

    model_config = ConfigDict(extra="forbid")

    step: int = 0
    samples_seen: int = 0
    skipped_in_a_row: int = 0
    best_top1: float = 0.0
    best_step: int = 0
