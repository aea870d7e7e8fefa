"""The gate's arithmetic, and halving's, on rungs made by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import Generator, Philox

from tuning.dimension import Choice
from tuning.search.fidelity import measure, ranks, reason, spearman, winner_kept
from tuning.search.halving import promotions, stop_after
from tuning.search.rows import Gate, Proposal, Round, RungEnded, RungGate, Study, replay
from tuning.search.rows import Place as At
from tuning.search.values import RungResult
from tuning.space import Param, Space

CONFIG = Param(name="config", paths=("config",), role="scientific", dimension=Choice(values=("a", "b")))
STUDY = Study(
    base={}, space=Space(name="two", params=(CONFIG,), own={"config": None}), strategy="random", seed=0, batch=4,
    objectives=("error",), rungs=(50, 100),
)  # fmt: skip
OPEN = Gate(trials=(), rungs=(RungGate(rung=0, correlation=1.0, kept=1.0, open=True),))


def state(*curves, gate=None):
    """One trial for each: its errors at the rungs that it ended; a word for a rung that ended otherwise."""
    rows = [STUDY, Round(new=tuple(Proposal(trial=n, point={}) for n in range(len(curves))), rungs=())]
    for number, curve in enumerate(curves):
        for rung, error in enumerate(curve):
            known = isinstance(error, float)
            result = RungResult(
                state="done" if known else error,
                samples=50 * rung + 50,
                error=error if known else None,
                seconds=1.0,
            )
            rows.append(Round(new=(), rungs=(At(trial=number, rung=rung),)))
            rows.append(RungEnded(trial=number, rung=rung, attempt=2, result=result))
    return replay([*rows, *([gate] if gate else [])])


def promoted(found):
    return [(place.trial, place.rung) for place in promotions(found)]


def test_ranks_share_the_mean_of_ties():
    assert list(ranks([3.0, 1.0, 3.0, 2.0])) == [3.5, 1.0, 3.5, 2.0]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1, 2, 3, 4, 5], [5, 6, 7, 8, 7], 0.8207826816681233),  # both as Wikipedia has them
        ([106, 86, 100, 101, 99, 103, 97, 113, 112, 110], [7, 0, 27, 50, 28, 29, 20, 12, 6, 17], -29 / 165),
        ([1, 2, 3], [1, 1, 1], 0.0),
    ],
)  # fmt: skip
def test_spearman_by_hand(first, second, expected):
    assert spearman(first, second) == pytest.approx(expected)


@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=20, unique=True))
def test_spearman_knows_order_alone(values):
    assert spearman(values, [value**3 for value in values]) == pytest.approx(1)
    assert spearman(values, [-value for value in values]) == pytest.approx(-1)


def test_the_winner_is_kept_where_order_holds_and_lost_where_it_turns():
    early = [0.1, 0.2, 0.3, 0.4, 0.5]
    rng = Generator(Philox(key=[0, 0]))
    assert winner_kept(early, early, rng) == 1.0
    assert winner_kept(early, early[::-1], rng) < 0.1
    again = [winner_kept(early, [0.2, 0.1, 0.3, 0.5, 0.4], Generator(Philox(key=[0, 1]))) for _ in range(2)]
    assert again[0] == again[1]


def test_the_gate_waits_for_eight_full_trainings():
    seven = [(0.1 * n, 0.1 * n) for n in range(1, 8)]
    assert measure(state(*seven)) is None
    assert measure(state(*seven, ("diverged",), (0.8,))) is None
    assert "7 of the 8 full trainings" in reason(state(*seven))
    gate = measure(state(*seven, ("diverged",), (0.8, 0.9)))
    assert (gate.trials, gate.rungs[0].open) == ((0, 1, 2, 3, 4, 5, 6, 8), True)


def test_a_rank_correlation_below_the_limit_keeps_it_closed():
    turned = state(*((0.1 * n, 0.9 - 0.1 * n) for n in range(1, 9)))
    gate = measure(turned)
    assert (gate.rungs[0].correlation, gate.rungs[0].open) == (pytest.approx(-1), False)
    told = reason(turned.model_copy(update={"gate": gate}))
    assert (
        "at 50% of the training, errors rank trials as their ends do with correlation -1.00 (needs 0.80)"
        in told
    )
    assert told.endswith("every trial was trained to its end")


def test_before_the_gate_the_first_eight_go_on_and_the_others_wait():
    found = state((0.9,), (0.1,), ("diverged",), *((0.1 * n,) for n in range(2, 9)), (0.05,))
    assert promoted(found) == [(n, 1) for n in (0, 1, 3, 4, 5, 6, 7, 8)]
    assert stop_after(found, -1) == 0


def test_an_open_gate_lets_the_better_half_go_on():
    found = state((0.4,), (0.1,), ("diverged",), (0.2,), (0.3,), gate=OPEN)
    assert promoted(found) == [(1, 1), (3, 1)]


def test_half_in_all_go_on_and_no_more():
    """The better half of the first four went on; of six, one more may, though two are better than those."""
    found = state((0.4, 0.4), (0.3, 0.3), (0.5,), (0.6,), (0.1,), (0.2,), gate=OPEN)
    assert promoted(found) == [(4, 1)]


def test_diverged_alone_promotes_none():
    assert promoted(state(("diverged",), ("diverged",), gate=OPEN)) == []


def test_a_closed_gate_lets_all_go_on_and_new_ones_run_to_the_end():
    closed = OPEN.model_copy(update={"rungs": (RungGate(rung=0, correlation=0.0, kept=0.0, open=False),)})
    found = state((0.4,), (0.1, 0.2), (0.9,), gate=closed)
    assert promoted(found) == [(0, 1), (2, 1)]
    assert stop_after(found, -1) == 1
