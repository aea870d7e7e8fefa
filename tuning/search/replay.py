"""Recorded curves in the place of trainings: a strategy is judged in milliseconds, on what really happened.

The file is a CSV with a header: `config` (its name, the one field of the space), `samples` (seen so far), `error` (a
share; empty where it was not finite) and `seconds` (of training so far); any further column is an objective. A row for
each evaluation, in the order of training.
"""

import csv
import hashlib
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from data_shards.shardset import Value
from raytrain.errors import UsageError
from tuning.search.values import RungJob, RungResult

COLUMNS = ("config", "samples", "error", "seconds")


class Evaluated(Value):
    """A row of a recording. `error` is None where the training had diverged."""

    samples: int
    error: float | None
    seconds: float
    values: dict[str, float]


class Recording(Value):
    """Curves by configuration, each in the order of samples, and the file's sha256."""

    digest: str
    curves: dict[str, tuple[Evaluated, ...]]

    @property
    def samples(self) -> int:
        """Where the shortest curve ends."""
        return min(curve[-1].samples for curve in self.curves.values())


def read_recording(file: Path) -> Recording:
    """Read a CSV of recorded curves. Raises UsageError naming the line that cannot be read."""
    raw = file.read_bytes()
    reader = csv.DictReader(raw.decode().splitlines())
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise UsageError(
            f"{file} lacks the column{'s' if missing[1:] else ''} {', '.join(missing)} of its header"
        )
    curves: dict[str, list[Evaluated]] = {}
    for row in reader:
        try:
            error = float(row["error"] or "nan")
            point = Evaluated(
                samples=int(row["samples"]),
                error=error if math.isfinite(error) else None,
                seconds=float(row["seconds"]),
                values={name: float(value) for name, value in row.items() if name not in COLUMNS},
            )
        except (ValueError, TypeError, ValidationError) as problem:
            raise UsageError(f"{file}, line {reader.line_num}: {problem}") from None
        curve = curves.setdefault(row["config"], [])
        if curve and curve[-1].samples >= point.samples:
            raise UsageError(f"{file}, line {reader.line_num}: the samples of {row['config']} do not grow")
        curve.append(point)
    if not curves:
        raise UsageError(f"{file} holds no curves")
    return Recording(
        digest=hashlib.sha256(raw).hexdigest(), curves={name: tuple(curve) for name, curve in curves.items()}
    )


class ReplayExecutor:
    """Executor on recorded curves. Rungs end in the order in which `concurrency` trainings at a time would have."""

    def __init__(self, recording: Recording, concurrency: int = 1) -> None:
        self.recording, self.concurrency = recording, concurrency

    def run(self, jobs: Sequence[RungJob], done: Callable[[RungJob, RungResult], None]) -> None:
        """Look all jobs up, and tell them by their recorded times."""
        free = [0.0] * self.concurrency
        ends: list[tuple[float, int]] = []
        results = [self.result(job) for job in jobs]
        for number, result in enumerate(results):
            at = free.index(min(free))
            free[at] += result.seconds
            ends.append((free[at], number))
        for _, number in sorted(ends):
            done(jobs[number], results[number])

    def result(self, job: RungJob) -> RungResult:
        """The last evaluation at or before the rung's end. `seconds` are those since the rung began."""
        curve = self.recording.curves[str(job.changes["config"])]
        at = bisect_right(curve, job.samples, key=lambda point: point.samples) - 1
        if at < 0:
            problem = f"the recording begins at {curve[0].samples} samples"
            return RungResult(state="failed", samples=0, error=None, seconds=0.0, problem=problem)
        point = curve[at]
        begun = bisect_right(curve, job.begun, key=lambda point: point.samples) - 1
        spent = point.seconds - (curve[begun].seconds if begun >= 0 else 0.0)
        state = "done" if point.error is not None else "diverged"
        return RungResult(
            state=state, samples=point.samples, error=point.error, values=point.values, seconds=spent
        )
