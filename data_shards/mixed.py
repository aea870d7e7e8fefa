"""The readers of several sets as one reader: what a mix is read with."""

from collections.abc import Callable, Sequence

from data_shards.reader import Reader, Sample
from data_shards.training import Training


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
        return sample._replace(label=int(self._labels[number][sample.label]))

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
