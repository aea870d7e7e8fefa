"""What predictions say, against values worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from raytrain.evaluation import PREDICTION, Confusion, Evaluation, summarize


def rows_of(*rows: tuple[int, int, float]) -> NDArray[np.void]:
    """Predictions from (label, predicted, confidence); the loss is 1, and top-5 is right but for row 0."""
    out = np.zeros(len(rows), PREDICTION)
    out["index"], out["loss"] = np.arange(len(rows)), 1.0
    out["top5"] = out["index"] > 0
    out["label"], out["predicted"], out["confidence"] = zip(*rows, strict=True)
    return out


def of(*rows: tuple[int, int, float], classes: int = 4) -> Evaluation:
    return summarize(rows_of(*rows), split="val", classes=classes)


def test_accuracies_per_class_and_loss() -> None:
    found = of((0, 1, 0.5), (0, 0, 0.5), (1, 1, 0.5), (3, 1, 0.5))
    assert (found.top1, found.top5, found.loss, found.samples) == (0.5, 0.75, 1.0, 4)
    assert found.per_class == (0.5, 1.0, None, 0.0)


def test_classes_that_nobody_saw_or_predicted_are_still_in_per_class() -> None:
    assert of((0, 0, 1.0), classes=1000).per_class == (1.0, *[None] * 999)


def test_calibration_error_is_the_mean_gap_over_bins() -> None:
    """Bins of 1/15. Confidence 0.9 (bin 13): 3 of 4 right, gap 0.15. Confidence 0.1 (bin 1): 0 of 1, gap 0.1."""
    found = of((0, 0, 0.9), (0, 0, 0.9), (0, 0, 0.9), (0, 1, 0.9), (0, 1, 0.1))
    assert found.calibration_error == pytest.approx((4 * 0.15 + 1 * 0.1) / 5)


def test_gaps_cancel_within_a_bin_and_not_across() -> None:
    """0.61 right and 0.65 wrong share bin 9: |0.61 + 0.65 - 1| / 2. In bins of their own they would not cancel."""
    assert of((0, 0, 0.61), (0, 1, 0.65)).calibration_error == pytest.approx(0.13)
    assert of((0, 0, 0.61), (0, 1, 0.75)).calibration_error == pytest.approx((0.39 + 0.75) / 2)


def test_full_confidence_belongs_to_the_last_bin() -> None:
    assert of((0, 0, 1.0), (1, 1, 1.0)).calibration_error == 0.0


def test_coverage_is_the_longest_confident_start_that_is_accurate_enough() -> None:
    """By confidence: right, wrong, right, right, right, wrong. Running accuracy 1, .5, .67, .75, .8, .67."""
    found = of((0, 0, 0.9), (0, 1, 0.8), (0, 0, 0.7), (0, 0, 0.6), (0, 0, 0.5), (0, 1, 0.4))
    assert [(row.accuracy, row.coverage) for row in found.coverage] == [
        (0.8, pytest.approx(5 / 6)),
        (0.9, pytest.approx(1 / 6)),
        (0.95, pytest.approx(1 / 6)),
    ]


def test_coverage_is_nothing_where_even_the_surest_is_wrong() -> None:
    assert {row.coverage for row in of((0, 1, 0.9), (0, 1, 0.8)).coverage} == {0.0}


def test_confusions_by_count_then_by_label() -> None:
    found = of((2, 3, 0.5), (1, 0, 0.5), (2, 3, 0.5), (0, 1, 0.5), (0, 0, 0.5))
    assert found.confusions == (
        Confusion(label=2, predicted=3, count=2),
        Confusion(label=0, predicted=1, count=1),
        Confusion(label=1, predicted=0, count=1),
    )


def test_surest_mistakes_first_and_at_most_24() -> None:
    found = of((0, 1, 0.5), (0, 0, 0.99), *[(1, 0, 0.6)] * 30, (2, 3, 0.75))
    assert [(m.index, m.label, m.predicted) for m in found.mistakes[:3]] == [(32, 2, 3), (2, 1, 0), (3, 1, 0)]
    assert len(found.mistakes) == 24


def test_nothing_wrong_leaves_the_lists_empty() -> None:
    found = of((0, 0, 0.9), (1, 1, 0.8))
    assert (found.confusions, found.mistakes) == ((), ())
    assert {row.coverage for row in found.coverage} == {1.0}


PREDICTIONS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.floats(0, 1, width=32)), min_size=1, max_size=60
)


@given(PREDICTIONS)
def test_the_parts_agree_with_the_whole(rows: list[tuple[int, int, float]]) -> None:
    found = of(*rows)
    seen = np.bincount([label for label, _, _ in rows], minlength=4)
    right = sum((p or 0.0) * n for p, n in zip(found.per_class, seen, strict=True))
    assert right == pytest.approx(found.top1 * len(rows))
    assert sum(pair.count for pair in found.confusions) == pytest.approx((1 - found.top1) * len(rows))
    assert 0 <= found.calibration_error <= 1
    assert Evaluation.model_validate_json(found.model_dump_json()) == found
