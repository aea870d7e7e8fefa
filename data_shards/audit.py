"""The audit: from a ledger and the order alone, was each sample of each epoch delivered once?

Three questions of every row: do the ranks' slots, laid over all rows, cover every slot once; is each rank's digest
that of the samples which the order has at those slots; do the digests add up to the running one, which the
checkpoints hold too? Of a mix each set goes through epochs of its own, at the pace of its turns, and each of those is
judged. Pure: rows and an order in, findings out.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from data_shards.intervals import Intervals, gaps, sweep, within
from data_shards.ledger import NOTHING, Hashes, Part, Row, added, as_digest, expand, hashes
from data_shards.order import Ints, Ordered
from data_shards.shardset import Value

CHUNK = 2**20
"""Slots whose hashes are held at a time: 50 MB of tables."""

NAMED = 20
"""Samples of a finding that are named; the rest are counted."""


class Claim(NamedTuple):
    """What a checkpoint says: after `step`, `samples` slots were delivered, and this is their digest."""

    step: int
    samples: int
    delivered: str


class Named(Value):
    """A sample that something is wrong with: its set, where there are several, and the epoch which that set was in.

    `key` is filled in by whoever can read the shards.
    """

    set: str = Field("", exclude_if=lambda name: not name)
    epoch: int
    slot: int
    shard: int
    row: int
    key: str = ""


class Finding(Value):
    """Slots that are not proven to be delivered once, and why. `named` are the first NAMED of `samples`."""

    kind: Literal["missing", "doubled", "unproven"]
    samples: int
    why: str
    named: tuple[Named, ...]


class Epoch(Value):
    """One epoch of one set: of `index` samples, `delivered` + `quarantined` + `missing` are those it has come to.

    `doubled` counts deliveries beyond the first; `unproven` those whose digest is another one than the order's.
    """

    set: str = Field("", exclude_if=lambda name: not name)
    epoch: int
    index: int
    delivered: int
    quarantined: int
    missing: int
    doubled: int
    unproven: int

    @property
    def partial(self) -> bool:
        """Whether the run has not come to its end yet."""
        return self.delivered + self.quarantined + self.missing < self.index


class Audit(Value):
    """What a ledger proves. `workers` are the numbers of ranks in turn; `faults` say what in the ledger is wrong."""

    samples: int
    workers: tuple[int, ...]
    epochs: tuple[Epoch, ...]
    findings: tuple[Finding, ...]
    faults: tuple[str, ...]

    @property
    def proven(self) -> bool:
        """Whether every slot so far was delivered once, or quarantined."""
        return not self.findings and not self.faults


class _Slots(NamedTuple):
    """Slots by what is known of them."""

    covered: Intervals
    missing: Intervals
    doubled: Intervals
    unproven: Intervals
    quarantined: Intervals


def audit(
    rows: Sequence[Row],
    order: Ordered,
    claims: Iterable[Claim],
    on_row: Callable[[int, int], None],
    sets: Sequence[str] = ("",),
) -> Audit:
    """Hold a ledger against its order and its checkpoints; `on_row(rows, of)` is told of each row.

    `sets` are the names of those that the order mixes. A last epoch that the run has not finished is judged so far
    as it went. Takes about 0.2 us per sample.
    """
    rows = sorted(rows, key=lambda row: row.step)
    faults = [*_chain(rows), *_against(rows, claims := list(claims))]
    findings: list[Finding] = []
    unproven, quarantined = [np.zeros((0, 2), np.int64)], [np.zeros(0, np.int64)]
    for row in rows:
        for rank, part in enumerate(_unlike_the_order(row, order)):
            if part is None:
                continue
            slots = np.stack(expand(part.slots), 1)
            unproven.append(slots)
            why = f"rank {rank} at step {row.step} was given other samples than the order has at these slots"
            findings.append(_finding("unproven", slots, why, order, sets))
        faults += _misplaced(row, order)
        quarantined += [np.array([slot for slot, _, _ in part.quarantined], np.int64) for part in row.ranks]
        on_row(1, len(rows))
    covered, twice = _cover(rows)
    findings += [_finding("doubled", slots[None], why, order, sets) for slots, why in twice]
    end = max([int(covered[-1, 1]) if len(covered) else 0, *(claim.samples for claim in claims)])
    missing = gaps(covered, end)
    findings += [
        _finding("missing", gap[None], "no row of the ledger has these slots", order, sets) for gap in missing
    ]
    alone = np.unique(np.concatenate(quarantined))
    known = _Slots(
        covered,
        missing,
        np.array([slots for slots, _ in twice], np.int64).reshape(-1, 2),
        np.concatenate(unproven),
        np.stack([alone, alone + 1], 1),
    )
    worlds = [len(row.ranks) for row in rows]
    return Audit(
        samples=end,
        workers=tuple(worlds[:1] + [after for before, after in pairwise(worlds) if after != before]),
        epochs=tuple(
            epoch for number in range(len(sets)) for epoch in _epochs(sets, number, order, known, end)
        ),
        findings=tuple(findings),
        faults=tuple(faults),
    )


def _chain(rows: Iterable[Row]) -> Iterable[str]:
    """Whether each row's running digest is the one before it and its own."""
    before = NOTHING
    for row in rows:
        sum_of_parts = added([before, *(part.digest for part in row.ranks)])
        if sum_of_parts != row.delivered:
            yield (
                f"step {row.step}: the rows up to it add up to {sum_of_parts}, its running digest is "
                f"{row.delivered}: a row was lost, doubled or changed"
            )
        before = row.delivered


def _against(rows: Iterable[Row], claims: Iterable[Claim]) -> Iterable[str]:
    """Whether the checkpoints say the same as the rows of their steps."""
    told = {row.step: row for row in rows}
    for claim in claims:
        row = told.get(claim.step)
        if row is None:
            yield f"step {claim.step}: its checkpoint is there and its row is not"
        elif (row.samples, row.delivered) != (claim.samples, claim.delivered):
            yield (
                f"step {claim.step}: the ledger says {row.samples} samples, digest {row.delivered}; "
                f"the checkpoint {claim.samples}, {claim.delivered}"
            )


def _unlike_the_order(row: Row, order: Ordered) -> list[Part | None]:
    """Per rank its part where the digest is not that of the order's samples at its slots, else None."""
    ranges = [expand(part.slots) for part in row.ranks]
    first = min((int(starts.min()) for starts, _ in ranges if len(starts)), default=0)
    end = max((int(ends.max()) for _, ends in ranges if len(ends)), default=0)
    totals = [0] * len(ranges)
    for begin in range(first, end, CHUNK):
        count = min(CHUNK, end - begin)
        sums = _running_sums(order, begin, count)
        for rank, (starts, ends) in enumerate(ranges):
            low, high = ((edge - begin).clip(0, count) for edge in (starts, ends))
            totals[rank] += int((sums[high] - sums[low]).sum())
    wrong = [
        as_digest(total) != part.digest or int((ends - starts).sum()) != part.samples
        for total, part, (starts, ends) in zip(totals, row.ranks, ranges, strict=True)
    ]
    return [part if bad else None for part, bad in zip(row.ranks, wrong, strict=True)]


def _running_sums(order: Ordered, first: int, count: int) -> Hashes:
    """[count + 1]: the sums, modulo 2**64, of the hashes of the slots before each."""
    slots, sums = np.arange(first, first + count), np.zeros(count + 1, np.uint64)
    np.cumsum(hashes(slots, *order.locate(slots)), out=sums[1:])
    return sums


def _misplaced(row: Row, order: Ordered) -> Iterable[str]:
    """Quarantined samples that the order does not have at their slots, or whose slots the rank was not given."""
    for rank, part in enumerate(row.ranks):
        starts, ends = expand(part.slots)
        for slot, shard, number in part.quarantined:
            (there,), (at,) = order.locate(np.array([slot]))
            if (there, at) != (shard, number) or not ((starts <= slot) & (slot < ends)).any():
                yield (
                    f"step {row.step}: rank {rank} says that slot {slot} was row {number} of shard {shard} and "
                    f"quarantined; the order has row {at} of shard {there} there"
                )


def _cover(rows: Iterable[Row]) -> tuple[Intervals, list[tuple[Ints, str]]]:
    """(slots that some row has, each range that one has more than once and why that is wrong)."""
    unions, doubled = np.zeros((0, 2), np.int64), list[tuple[Ints, str]]()
    for row in rows:
        union, twice = sweep(np.stack(expand([entry for part in row.ranks for entry in part.slots]), 1))
        _, again = sweep(np.concatenate([unions, union]))
        for ranges, where in (
            (twice, f"twice in the row of step {row.step}"),
            (again, "in an earlier row too"),
        ):
            why = f"the row of step {row.step} has these slots, which are {where}"
            doubled += [(slots, why) for slots in ranges]
        unions, _ = sweep(np.concatenate([unions, union]))
    return unions, doubled


def _finding(
    kind: Literal["missing", "doubled", "unproven"],
    slots: Intervals,
    why: str,
    order: Ordered,
    sets: Sequence[str],
) -> Finding:
    """A finding over some ranges of slots; its first samples by their places in the order."""
    named: list[Named] = []
    for first, end in slots.tolist():
        wanted = np.arange(first, min(end, first + NAMED - len(named)))
        columns = (wanted, *order.draw(wanted), *order.locate(wanted))
        for slot, number, drawn, shard, row in zip(*(column.tolist() for column in columns), strict=True):
            epoch = drawn // order.orders[number].samples
            named.append(Named(set=sets[number], epoch=epoch, slot=slot, shard=shard, row=row))
        if len(named) == NAMED:
            break
    samples = int((slots[:, 1] - slots[:, 0]).sum())
    return Finding(kind=kind, samples=samples, why=why, named=tuple(named))


def _epochs(sets: Sequence[str], number: int, order: Ordered, slots: _Slots, end: int) -> Iterator[Epoch]:
    """The epochs that a set has come to. Its samples are numbered by their turns: a range of slots is one of those."""
    index = order.orders[number].samples
    own = _Slots(*(order.before(number, ranges) for ranges in slots))
    drawn = int(order.before(number, np.array([end]))[0])
    for epoch, first in enumerate(range(0, drawn, index)):
        covered, missing, doubled, unproven, quarantined = (
            within(ranges, first, first + index) for ranges in own
        )
        yield Epoch(
            set=sets[number],
            epoch=epoch,
            index=index,
            delivered=covered - quarantined,
            quarantined=quarantined,
            missing=missing,
            doubled=doubled,
            unproven=unproven,
        )
