"""The audit of a mix: each set goes through epochs of its own, and each of those is proven, or its gap named."""

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ledger import BATCH, WORLDS, Run, changed

from data_shards.mixing import MixedOrder

THREE_TO_ONE = MixedOrder([(5, 4, 6), (7, 4)], [Fraction(3), Fraction(1)], seed=9)
SETS = ("main", "mine")


def by_set(found):
    return [
        (e.set, e.epoch, e.delivered, e.quarantined, e.missing, e.doubled, e.unproven) for e in found.epochs
    ]


def test_each_set_has_epochs_of_its_own():
    run = Run(THREE_TO_ONE).train(0, 3, world=2, lost=2).train(3, 8, world=1)  # 64 slots: 48 and 16
    found = run.audited(THREE_TO_ONE, sets=SETS)
    assert found.proven
    assert by_set(found) == [
        ("main", 0, 15, 0, 0, 0, 0), ("main", 1, 15, 0, 0, 0, 0), ("main", 2, 15, 0, 0, 0, 0),
        ("main", 3, 3, 0, 0, 0, 0), ("mine", 0, 11, 0, 0, 0, 0), ("mine", 1, 5, 0, 0, 0, 0),
    ]  # fmt: skip


def test_a_gap_is_one_of_each_set_with_names():
    run = Run(THREE_TO_ONE).train(0, 8)
    del run.rows[1]  # slots 16 to 31
    found = run.audited(THREE_TO_ONE, sets=SETS)
    (finding,) = found.findings
    assert (finding.kind, finding.samples) == ("missing", 16)
    sets, draws = THREE_TO_ONE.draw(np.arange(16, 32))
    assert [named.set for named in finding.named] == [SETS[number] for number in sets]
    assert [named.epoch for named in finding.named] == [
        draw // (15, 11)[number] for number, draw in zip(sets.tolist(), draws.tolist(), strict=True)
    ]
    missing = {name: sum(epoch.missing for epoch in found.epochs if epoch.set == name) for name in SETS}
    assert missing == {"main": 12, "mine": 4}


def test_a_quarantined_sample_counts_in_its_own_set():
    run = Run(THREE_TO_ONE).train(0, 8, world=2, dirt={(4, 2)})  # shard 4 is the second of the second set
    found = run.audited(THREE_TO_ONE, sets=SETS)
    assert found.proven
    assert next((e.delivered, e.quarantined) for e in found.epochs if e.set == "mine") == (10, 1)
    assert all(e.quarantined == 0 for e in found.epochs if e.set == "main")


def test_other_weights_prove_nothing():
    other = MixedOrder([(5, 4, 6), (7, 4)], [Fraction(1), Fraction(1)], seed=9)
    found = Run(THREE_TO_ONE).train(0, 8).audited(other, sets=SETS)
    assert not found.proven
    assert found.findings[0].kind == "unproven"


SHARDS = st.lists(st.integers(0, 9), min_size=1, max_size=4).filter(sum)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(SHARDS, st.integers(1, 9)), min_size=1, max_size=4), st.data())
def test_any_run_on_any_mix_is_proven_and_any_lost_row_is_counted_to_its_sets(parts, data):
    order = MixedOrder([shards for shards, _ in parts], [Fraction(weight) for _, weight in parts], seed=3)
    names = tuple(f"set{number}" for number in range(len(parts)))
    run, step = Run(order), 0
    for _ in range(data.draw(st.integers(1, 3))):
        stop = step + data.draw(st.integers(1, 6))
        run.train(
            step, stop, world=data.draw(st.sampled_from(list(WORLDS))), lost=data.draw(st.integers(0, 3))
        )
        step = data.draw(st.sampled_from([row.step for row in run.rows]))
    found = run.audited(order, sets=names)
    assert found.proven, found
    assert sum(epoch.delivered for epoch in found.epochs) == found.samples == run.rows[-1].samples
    sets, _ = order.draw(np.arange(found.samples))
    for number, name in enumerate(names):
        its = [epoch for epoch in found.epochs if epoch.set == name]
        assert sum(epoch.delivered for epoch in its) == (sets == number).sum()
        assert all(not epoch.partial for epoch in its[:-1]), "only the last epoch is not whole"
    lost = run.rows.pop(data.draw(st.integers(0, len(run.rows) - 1)))
    gap = run.audited(order, sets=names)
    assert not gap.proven
    for number, name in enumerate(names):
        first = lost.samples - sum(part.samples for part in lost.ranks)
        due = (sets[first : lost.samples] == number).sum()
        assert sum(epoch.missing for epoch in gap.epochs if epoch.set == name) == due


def test_a_forged_digest_is_counted_to_the_sets_of_its_slots():
    run = Run(THREE_TO_ONE).train(0, 2)
    run.rows[0] = changed(run.rows[0], 0, digest="00000000000000ff")
    found = run.audited(THREE_TO_ONE, sets=SETS)
    unproven = {name: sum(epoch.unproven for epoch in found.epochs if epoch.set == name) for name in SETS}
    assert unproven == {"main": 12, "mine": 4}
    assert sum(unproven.values()) == 2 * BATCH
