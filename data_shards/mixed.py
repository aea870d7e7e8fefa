"""The sets of a training as one: its order, and the reader of a mix."""

from collections.abc import Callable, Sequence

from data_shards.errors import DataUsageError
from data_shards.mixing import MixedOrder
from data_shards.order import Order
from data_shards.reader import Reader, Sample
from data_shards.training import Training


def order_of(training: Training, seed: int) -> Order | MixedOrder:
    """The order of its samples. DataUsageError where a part has none, or the weights cannot be."""
    for part in training.parts:
        if part.chosen.samples == 0:
            raise DataUsageError(f"split '{part.split}' of {part.url} has no samples to train on")
    counts = [[shard.samples for shard in part.chosen.shards] for part in training.parts]
    if not training.mixed:
        return Order(counts[0], seed)
    return MixedOrder(counts, [part.weight for part in training.parts], seed)


class MixedReader:
    """Reads shards numbered on over the sets of a mix, with the labels of the merged class list."""

    def __init__(self, training: Training, readers: Sequence[Reader]) -> None:
        """One reader per part."""
        self._training, self._readers = training, readers
        self._labels = training.labels

    def read(self, shard: int, row: int) -> Sample:
        """An encoded image, checked, and its merged label. DataError if it was damaged since packing."""
        number, own = self._training.place(shard)
        sample = self._readers[number].read(own, row)
        return sample._replace(label=self._labels[number][sample.label])

    def bring(self, shard: int, older_than: float, wanted: Callable[[], bool]) -> None:
        """Have the shard's files in the cache, if they are not read in place."""
        number, own = self._training.place(shard)
        self._readers[number].bring(own, older_than, wanted)

    def key(self, shard: int, row: int) -> str:
        """SET/KEY, the key being the one in the tar."""
        number, own = self._training.place(shard)
        return self._training.prefix(shard) + self._readers[number].key(own, row)

    def name(self, shard: int) -> str:
        """SET/SHARD."""
        return self._training.shard_name(shard)
