"""TrainState: all that changes while a run goes on, but for the engine's tensors.

There is no generator state in it: the data order, the crops, mixup and drop path are pure functions of
(seed, samples seen) or (seed, step, rank), so a run continues exactly from these few numbers.
"""

from pydantic import BaseModel, ConfigDict

from data_shards.ledger import NOTHING


class TrainState(BaseModel):
    """The run's clockwork. `samples_seen` is the position in the data's order; `step` counts optimizer steps tried.

    `delivered` is the digest of all samples up to the newest row of the ledger: equal on any number of workers.
    """

    model_config = ConfigDict(extra="forbid")

    step: int = 0
    samples_seen: int = 0
    delivered: str = NOTHING
    skipped_in_a_row: int = 0
    best_top1: float = 0.0
    best_step: int = 0
