"""Several sets mixed by weight: which set slot n draws from is a pure function of n too, so the state stays n.

The weights, as whole numbers w, make a cycle of sum(w) turns in which each set has exactly its own. A turn is two
neighbouring slots (mixup's pairs stay within a set). Each set goes through its own epochs, in its own order, at the
pace of its turns: it is delivered exactly once per epoch of its own.
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from data_shards.order import SETS, Ints, Order, philox, share_by_stream
from data_shards.weights import turns_of


class Turns:
    """Whose turn it is. After any number of turns no set is a whole turn ahead of its share, or behind it."""

    def __init__(self, weights: Sequence[Fraction]) -> None:
        """One positive weight per set, of any sum. DataUsageError as `turns_of` raises it."""
        self.turns = turns_of(weights)
        self._sets = np.array(_cycle(self.turns), np.int64)
        self._draws = np.empty_like(self._sets)
        for number, turns in enumerate(self.turns):
            self._draws[self._sets == number] = np.arange(turns)

    def draw(self, slots: Ints) -> tuple[Ints, Ints]:
        """(set, how many slots of that set came before) of every slot."""
        turn, second = np.divmod(slots, 2)
        cycle, place = np.divmod(turn, len(self._sets))
        sets = self._sets[place]
        return sets, 2 * (cycle * np.array(self.turns)[sets] + self._draws[place]) + second

    def before(self, number: int, slots: Ints) -> Ints:
        """How many of all slots before each of these draw from set `number`."""
        turn, second = np.divmod(slots, 2)
        cycle, place = np.divmod(turn, len(self._sets))
        its = self._sets == number
        passed = np.cumsum(its) - its
        earlier: Ints = 2 * (cycle * self.turns[number] + passed[place]) + second * its[place]
        return earlier


def _cycle(turns: Sequence[int]) -> list[int]:
    """The set of each turn: Tijdeman's solution of the chairman assignment problem (Discrete Mathematics 32, 1980).

    Of the sets that have come less than their share by 1 / (2 sets - 2) or more, the one whose turn is due first.
    """
    total, gauge = sum(turns), 2 * len(turns) - 2
    had, chosen = [0] * len(turns), []
    for turn in range(1, total + 1):
        due = [
            number
            for number, weight in enumerate(turns)
            if gauge * (weight * turn - total * had[number]) >= total or len(turns) == 1
        ]
        first = min(due, key=lambda number: Fraction(gauge * had[number] + gauge - 1, turns[number]))
        had[first] += 1
        chosen.append(first)
    return chosen


class MixedOrder:
    """The orders of several sets as one. Shards are numbered over all sets, in the order of the sets."""

    def __init__(self, counts: Sequence[Sequence[int]], weights: Sequence[Fraction], seed: int) -> None:
        """`counts[i]` are the samples of set i's shards. The first set's order is the one it would have alone."""
        self._turns = Turns(weights)
        seeds = [seed, *(int(philox(seed, SETS, n).random_raw()) for n in range(1, len(counts)))]
        self.orders = [Order(shards, own) for shards, own in zip(counts, seeds, strict=True)]
        self.seed = seed
        self.counts = tuple(samples for shards in counts for samples in shards)
        self._shards_before = np.cumsum([0, *map(len, counts)])
        self._streams_before = np.cumsum([0, *(order.shape.streams for order in self.orders)])

    @property
    def span(self) -> int:
        """Slots in which the slowest set reads a block."""
        turns = self._turns.turns
        return max(order.span * sum(turns) // own for order, own in zip(self.orders, turns, strict=True))

    def draw(self, slots: Ints) -> tuple[Ints, Ints]:
        """(set, how many slots of that set came before) of every slot."""
        return self._turns.draw(slots)

    def before(self, number: int, slots: Ints) -> Ints:
        """How many of all slots before each of these draw from set `number`."""
        return self._turns.before(number, slots)

    def locate(self, slots: Ints) -> tuple[Ints, Ints]:
        """(shard, row within the shard) of every slot."""
        shards, rows = np.empty_like(slots), np.empty_like(slots)
        sets, draws = self.draw(slots)
        for number in np.unique(sets).tolist():
            here = sets == number
            shards[here], rows[here] = self.orders[number].locate(draws[here])
            shards[here] += self._shards_before[number]
        return shards, rows

    def stream(self, slots: Ints) -> Ints:
        """The stream of every slot, numbered over all sets."""
        streams = np.empty_like(slots)
        sets, draws = self.draw(slots)
        for number in np.unique(sets).tolist():
            here = sets == number
            streams[here] = self.orders[number].stream(draws[here]) + self._streams_before[number]
        return streams

    def share(self, first: int, count: int, rank: int, world: int) -> Ints:
        """The slots that a rank takes of a global batch: see Order.share."""
        return share_by_stream(self.stream, first, count, rank, world)
