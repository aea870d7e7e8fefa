"""The ledger and its audit: any division, kill and restart is proven; whatever was tampered with is named."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_shards.audit import Claim, audit
from data_shards.ledger import NOTHING, Row, Witness, added, as_digest, expand, hashes
from data_shards.order import Order, Shape

COUNTS, SEED, BATCH = (13, 9, 18), 7, 8  # an epoch of 40 samples is five batches
ORDER = Order(COUNTS, SEED)
WORLDS = {1: 4, 2: 2, 4: 2, 8: 1}  # ranks: slots of a micro-batch


class Run:
    """A run without a trainer: its ledger, and the checkpoints' claims."""

    def __init__(self, order=ORDER):
        self.order, self.rows, self.claims = order, [], []

    def train(self, start, stop, *, world=1, every=2, dirt=(), lost=0):
        """Steps start + 1 to stop with a row and a checkpoint `every` steps; then `lost` steps that a kill undid."""
        self.rows = [row for row in self.rows if row.step <= start]
        self.claims = [claim for claim in self.claims if claim.step <= start]
        delivered = self.rows[-1].delivered if self.rows else NOTHING
        witnesses = [Witness() for _ in range(world)]
        for step in range(start, stop + lost):
            for rank, witness in enumerate(witnesses):
                share = self.order.share(step * BATCH, BATCH, rank, world)
                for slots in share.reshape(-1, WORLDS[world]):
                    self.give(witness, slots, dirt)
            if step < stop and ((step + 1) % every == 0 or step + 1 == stop):
                parts = tuple(witness.cut() for witness in witnesses)
                delivered = added([delivered, *(part.digest for part in parts)])
                samples = (step + 1) * BATCH
                self.rows.append(Row(step=step + 1, samples=samples, ranks=parts, delivered=delivered))
                self.claims.append(Claim(step + 1, samples, delivered))
        return self

    def give(self, witness, slots, dirt):
        places = np.stack(self.order.locate(slots), 1)
        bad = [
            (n, *place)
            for n, place in zip(slots.tolist(), places.tolist(), strict=True)
            if tuple(place) in dirt
        ]
        witness.saw(slots, places, bad)

    def audited(self, order=ORDER, claims=None, sets=("",)):
        """Through JSON, as a file would carry it."""
        rows = [Row.model_validate_json(row.model_dump_json()) for row in self.rows]
        told = []
        claims = self.claims if claims is None else claims
        found = audit(rows, order, claims, lambda *step: told.append(step), sets)
        assert told == [(1, len(rows))] * len(rows)
        return found


def counts(found):
    return [(e.delivered, e.quarantined, e.missing, e.doubled, e.unproven) for e in found.epochs]


def slots_of(finding):
    return [sample.slot for sample in finding.named]


def places_at(first, end, order=ORDER):
    return list(zip(*(part.tolist() for part in order.locate(np.arange(first, end))), strict=True))


def test_a_run_through_kills_and_other_worker_counts_is_proven():
    run = Run().train(0, 3, world=2, lost=2).train(3, 6, world=1, lost=1).train(6, 12, world=8)
    found = run.audited()
    assert found.proven
    assert (found.samples, found.workers) == (96, (2, 1, 8))
    assert counts(found) == [(40, 0, 0, 0, 0), (40, 0, 0, 0, 0), (16, 0, 0, 0, 0)]
    assert [epoch.partial for epoch in found.epochs] == [False, False, True]


def test_the_running_digest_is_the_same_on_any_worker_count():
    ends = {
        Run().train(0, 10, world=world, every=every).rows[-1].delivered
        for world in WORLDS
        for every in (1, 3)
    }
    slots = np.arange(80)
    assert ends == {as_digest(int(hashes(slots, *ORDER.locate(slots)).sum()))}


def test_a_row_is_small_however_many_steps_it_stands_for():
    (row,) = Run().train(0, 1000, world=4, every=1000).rows
    assert row.ranks[1].slots == ((2, 2, 8, 1000, 0, 1),)
    assert len(row.model_dump_json()) < 500
    (row,) = Run(Order(COUNTS, SEED, Shape(4, 5))).train(0, 1000, world=2, every=1000).rows
    assert row.ranks[1].slots == ((2, 2, 4, 2000, 0, 1),)


@pytest.mark.parametrize("world", [1, 3, 5, 6, 48])
def test_a_row_is_small_where_the_ranks_do_not_divide_the_streams(world):
    """An epoch's edge begins a new pattern; between two edges one batch tells all."""
    order, witness, slots = Order([100] * 640, 0, Shape(64, 400)), Witness(), []
    for step in range(400):
        slots.append(order.share(step * 240, 240, world // 2, world))
        witness.saw(slots[-1], np.zeros((240 // world, 2), np.int64), [])
    part = witness.cut()
    told = [np.arange(first, end) for first, end in zip(*expand(part.slots), strict=True)]
    assert np.array_equal(np.sort(np.concatenate(told)), np.sort(np.concatenate(slots)))
    assert len(part.slots) < 80


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 200), st.integers(1, 9)), max_size=12))
def test_any_batches_are_told_by_their_slots(batches):
    witness, seen = Witness(), []
    for first, count in batches:
        slots = np.arange(first, first + count)
        witness.saw(slots, np.zeros((count, 2), np.int64), [])
        seen += slots.tolist()
    part = witness.cut()
    told = [slot for first, end in zip(*expand(part.slots), strict=True) for slot in range(first, end)]
    assert (sorted(told), part.samples) == (sorted(seen), len(seen))
    assert witness.cut().samples == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=6).filter(sum), st.data())
def test_any_run_is_proven(shards, data):
    order = Order(shards, 3, Shape(data.draw(st.integers(1, 4)), data.draw(st.integers(1, 20))))
    run, step = Run(order), 0
    for _ in range(data.draw(st.integers(1, 4))):
        stop = step + data.draw(st.integers(1, 6))
        world, every = data.draw(st.sampled_from(list(WORLDS))), data.draw(st.integers(1, 4))
        run.train(step, stop, world=world, every=every, lost=data.draw(st.integers(0, 3)))
        step = data.draw(st.sampled_from([row.step for row in run.rows]))
    found = run.audited(order)
    assert found.proven, found
    assert sum(epoch.delivered for epoch in found.epochs) == found.samples == run.rows[-1].samples


def test_a_quarantined_sample_counts_once_in_each_epoch():
    run = Run().train(0, 10, world=2, dirt={(0, 4), (2, 17)})
    assert run.audited().proven
    assert counts(run.audited()) == [(38, 2, 0, 0, 0)] * 2


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_dropped_row_is_missing_by_name(which):
    run = Run().train(0, 6, world=2)
    del run.rows[which]
    found = run.audited()
    (finding,) = found.findings
    assert (finding.kind, finding.samples) == ("missing", 16)
    assert slots_of(finding) == list(range(which * 16, which * 16 + 16))
    assert [(s.shard, s.row) for s in finding.named] == places_at(which * 16, which * 16 + 16)
    assert any("its checkpoint is there and its row is not" in fault for fault in found.faults)
    if which == 1:
        assert counts(found) == [(24, 0, 16, 0, 0), (8, 0, 0, 0, 0)]


def changed(row, rank, **changes):
    parts = list(row.ranks)
    parts[rank] = parts[rank].model_copy(update=changes)
    return row.model_copy(update={"ranks": tuple(parts)})


def test_a_doubled_range_is_named_and_so_is_what_it_left_out():
    run = Run().train(0, 6, world=2)
    # rank 1 of the second row says that it had the slots of rank 0
    run.rows[1] = changed(run.rows[1], 1, slots=run.rows[1].ranks[0].slots)
    found = run.audited()
    mine, others = [16, 17, 18, 19, 24, 25, 26, 27], [20, 21, 22, 23, 28, 29, 30, 31]
    by_kind = {
        kind: [n for f in found.findings if f.kind == kind for n in slots_of(f)]
        for kind in ("doubled", "missing")
    }
    assert by_kind == {"doubled": mine, "missing": others}
    assert counts(found)[0] == (32, 0, 8, 8, 8)
    unproven = [f for f in found.findings if f.kind == "unproven"]
    assert [(f.why.split(" was")[0], slots_of(f)) for f in unproven] == [("rank 1 at step 4", mine)]


def test_a_row_that_is_there_twice_is_doubled():
    run = Run().train(0, 6)
    run.rows.append(run.rows[0].model_copy(update={"step": 7}))
    found = run.audited()
    (finding,) = found.findings
    assert (finding.kind, slots_of(finding)) == ("doubled", list(range(16)))
    assert "an earlier row" in finding.why
    assert found.faults[0].startswith("step 7: the rows up to it add up to")


def test_a_forged_digest_names_the_rank_and_its_samples():
    run = Run().train(0, 6, world=2)
    run.rows[1] = changed(run.rows[1], 0, digest="00000000000000ff")
    found = run.audited()
    (finding,) = found.findings
    assert (finding.kind, finding.samples) == ("unproven", 8)
    assert slots_of(finding) == [16, 17, 18, 19, 24, 25, 26, 27]
    assert finding.why.startswith("rank 0 at step 4 was given other samples")
    assert [fault.split(":")[0] for fault in found.faults] == ["step 4"]


def test_a_reader_that_returned_another_sample_is_found():
    run = Run()
    honest = run.give

    def careless(witness, slots, dirt):
        if slots[0] != 12:
            return honest(witness, slots, dirt)
        places = np.stack(ORDER.locate(slots), 1)
        places[1] = places[0]
        return witness.saw(slots, places, [])

    run.give = careless
    (finding,) = run.train(0, 6, world=2).audited().findings
    assert (finding.kind, slots_of(finding)) == ("unproven", [4, 5, 6, 7, 12, 13, 14, 15])


def test_another_seed_proves_nothing():
    found = Run().train(0, 5).audited(Order(COUNTS, SEED + 1))
    assert counts(found) == [(40, 0, 0, 0, 40)]
    assert not found.faults


def test_a_ledger_that_ends_before_its_checkpoint_has_a_gap():
    run = Run().train(0, 6)
    claims = [*run.claims, Claim(8, 64, "0123456789abcdef")]
    (finding,) = run.audited(claims=claims).findings
    assert (finding.kind, slots_of(finding)) == ("missing", list(range(48, 64)))


def test_a_checkpoint_of_another_ledger_is_found():
    run = Run().train(0, 6)
    other = Run(Order(COUNTS, 1)).train(0, 6)
    faults = run.audited(claims=other.claims).faults
    assert [fault.split(":")[0] for fault in faults] == ["step 2", "step 4", "step 6"]


def test_a_sample_quarantined_at_the_wrong_place_is_a_fault():
    run = Run().train(0, 5)
    (shard,), (row,) = ORDER.locate(np.array([3]))
    run.rows[0] = changed(run.rows[0], 0, quarantined=((3, int(shard), int(row) + 1), (39, 0, 0)))
    faults = run.audited().faults
    assert [fault.split(" was")[0] for fault in faults] == [
        "step 2: rank 0 says that slot 3",
        "step 2: rank 0 says that slot 39",
    ]


def test_a_long_finding_is_counted_and_its_first_samples_named():
    order = Order([1000], 0)
    run = Run(order).train(0, 100)
    del run.rows[10:40]
    (finding,) = run.audited(order).findings
    assert finding.samples == 30 * 16
    assert slots_of(finding) == list(range(160, 180))


def test_hashes_tell_slots_shards_and_rows_apart():
    slots, shards, rows = (part.ravel() for part in np.meshgrid(*[np.arange(20)] * 3))
    assert len(set(hashes(slots, shards, rows).tolist())) == 8000
    assert all(a != b for a, b in pairwise(hashes(np.arange(9), np.zeros(9, int), np.zeros(9, int)).tolist()))
