"""Delivery: what the data gave to this run. The ledger's rows, and the images that no decoder reads, on a budget."""

from dataclasses import dataclass, field

from data_shards.budget import excess
from data_shards.ledger import Row, Witness, added
from data_shards.loader import Batch, Undecodable
from data_shards.training import Training
from raytrain.errors import RunError
from raytrain.ranks import Ranks
from raytrain.runlog import QUARANTINE, RunLog
from raytrain.state import TrainState


def known_bad(log: RunLog) -> dict[tuple[str, int], str]:
    """The bad images that the run met before the checkpoint it goes on from."""
    return {(row["shard"], row["row"]): row["wnid"] for row in log.rows(QUARANTINE)}


@dataclass(kw_only=True)
class Delivery:
    """One rank's view. `row` and `quarantine` are called by all ranks at once; the first one writes.

    `bad` are the undecodable images of the step in progress, `known` the run's, by shard and row, with their class.
    """

    ranks: Ranks
    log: RunLog
    training: Training
    max_bad: float
    known: dict[tuple[str, int], str]
    witness: Witness = field(default_factory=Witness)
    bad: list[Undecodable] = field(default_factory=list)

    def saw(self, batch: Batch) -> None:
        """The trainer consumed a batch."""
        quarantined = [(bad.slot, bad.shard, bad.row) for bad in batch.undecodable]
        self.witness.saw(batch.slots.numpy(), batch.places.numpy(), quarantined)
        self.bad += batch.undecodable

    def row(self, state: TrainState) -> None:
        """Close a row of the ledger after `state.step`, and bind the state to all rows so far."""
        parts = self.ranks.to_first(self.witness.cut())
        if self.ranks.first:
            state.delivered = added([state.delivered, *(part.digest for part in parts)])
            row = Row(
                step=state.step, samples=state.samples_seen, ranks=tuple(parts), delivered=state.delivered
            )
            self.log.ledger(row)
        state.delivered = self.ranks.from_first(state.delivered)

    def quarantine(self, step: int) -> None:
        """Write down the step's bad images that were not known. Raises RunError on every rank past the budget."""
        met = [bad for part in self.ranks.to_first(self.bad) for bad in part]
        self.bad = []
        problem = None
        if self.ranks.first:
            for bad in sorted(set(met)):
                self._note(step, bad)
            problem = self._over()
        problem = self.ranks.from_first(problem)
        if problem is not None:
            raise RunError(problem)

    def _note(self, step: int, bad: Undecodable) -> None:
        shard, wnid = self.training.shard_name(bad.shard), self.training.classes[bad.label]
        number, _ = self.training.place(bad.shard)
        if (shard, bad.row) in self.known:
            return
        self.known[shard, bad.row] = wnid
        self.log.quarantine(
            step=step, slot=bad.slot, split=self.training.parts[number].split, shard=shard, row=bad.row,
            key=bad.key, wnid=wnid, reason=bad.reason,
        )  # fmt: skip

    def _over(self) -> str | None:
        """What to say where there are more bad images than the budget allows."""
        images = dict(zip(self.training.classes, self.training.class_counts, strict=True))
        over = excess(self.training.split, self.known.values(), images, self.max_bad)
        if over is None:
            return None
        return (
            f"{over}. {self.log.place}/{QUARANTINE} lists them. Mend them and pack again, or go on with a higher "
            f"--max-bad than {self.max_bad:g}"
        )
