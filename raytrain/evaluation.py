"""Evaluation: what a model's predictions on a split say. Values and plain arithmetic, without torch."""

import numpy as np
from numpy.typing import NDArray

from data_shards.shardset import Value

COVERAGE_TARGETS = (0.8, 0.9, 0.95)
CALIBRATION_BINS = 15  # Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2
MOST_LISTED = 24  # of the confusions and of the mistakes


class Mistake(Value):
    """A confident error: the sample's index in its split, what it is, what it was taken for, and how surely."""

    index: int
    label: int
    predicted: int
    confidence: float


class Confusion(Value):
    """How often a class was taken for another."""

    label: int
    predicted: int
    count: int


class Coverage(Value):
    """The share of samples one can answer, most confident first, while accuracy stays at the target."""

    accuracy: float
    coverage: float


class Evaluation(Value):
    """What a model does on a split. Accuracies are fractions; `per_class[label]` is None for absent classes."""

    split: str
    samples: int
    top1: float
    top5: float
    loss: float
    calibration_error: float
    coverage: tuple[Coverage, ...]
    per_class: tuple[float | None, ...]
    confusions: tuple[Confusion, ...]
    mistakes: tuple[Mistake, ...]


PREDICTION = np.dtype(
    [
        ("index", "<i8"),
        ("label", "<i4"),
        ("predicted", "<i4"),
        ("top5", "?"),
        ("confidence", "<f4"),
        ("loss", "<f4"),
    ]
)


def summarize(rows: NDArray[np.void], *, split: str, classes: int) -> Evaluation:
    """Turn one PREDICTION row per sample, in order of index, into an Evaluation of a head with `classes` rows.

    Pure; ties are broken by index, among confusions by label, so equal rows give equal results.
    """
    right = rows["predicted"] == rows["label"]
    seen = np.bincount(rows["label"], minlength=classes)
    correct = np.bincount(rows["label"][right], minlength=classes)
    return Evaluation(
        split=split,
        samples=len(rows),
        top1=float(right.mean()),
        top5=float(rows["top5"].mean()),
        loss=float(rows["loss"].astype(np.float64).mean()),
        calibration_error=_calibration_error(rows["confidence"], right),
        coverage=tuple(_coverage(rows["confidence"], right, target) for target in COVERAGE_TARGETS),
        per_class=tuple(float(c / n) if n else None for c, n in zip(correct, seen, strict=True)),
        confusions=_confusions(rows[~right]),
        mistakes=_mistakes(rows[~right]),
    )


def _calibration_error(confidence: NDArray[np.float32], right: NDArray[np.bool_]) -> float:
    """Expected calibration error: the mean gap of confidence and accuracy over equal-width bins."""
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gap = np.bincount(bins, confidence.astype(np.float64) - right, minlength=CALIBRATION_BINS)
    return float(np.abs(gap).sum() / len(right))


def _coverage(confidence: NDArray[np.float32], right: NDArray[np.bool_], target: float) -> Coverage:
    """Goodfellow et al. 2016, section 11.1: refuse the least confident and report what is left."""
    order = np.argsort(-confidence, kind="stable")
    running = np.cumsum(right[order]) / np.arange(1, len(right) + 1)
    enough = np.flatnonzero(running >= target)
    return Coverage(accuracy=target, coverage=float((enough[-1] + 1) / len(right)) if len(enough) else 0.0)


def _confusions(wrong: NDArray[np.void]) -> tuple[Confusion, ...]:
    pairs, counts = np.unique(np.stack([wrong["label"], wrong["predicted"]], 1), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MOST_LISTED]
    return tuple(
        Confusion(label=int(pairs[i][0]), predicted=int(pairs[i][1]), count=int(counts[i])) for i in order
    )


def _mistakes(wrong: NDArray[np.void]) -> tuple[Mistake, ...]:
    order = np.argsort(-wrong["confidence"], kind="stable")[:MOST_LISTED]
    return tuple(
        Mistake(
            index=int(row["index"]),
            label=int(row["label"]),
            predicted=int(row["predicted"]),
            confidence=float(row["confidence"]),
        )
        for row in wrong[order]
    )
