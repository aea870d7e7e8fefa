"""What a sweep found: its trials by top-1, and the best as a command to paste."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from data_shards.shardset import Value
from raytrain.errors import RunError
from tuning.dimension import Settings
from tuning.trial import held_sweep, trial_folder

HEADS = {"optimizer.weight_decay": "weight decay", "model.drop_path": "drop path", "optimizer.lr": "lr"}


class Row(Value):
    """A trial that ended: its number, what it changed, how it went, and its run's folder."""

    trial: int
    changes: Settings
    state: str
    step: int
    top1: float | None
    problem: str
    run: str


def read_rows(out: Path) -> list[Row]:
    """The study's told trials, best first; those without an evaluation last."""
    from tuning.study import ended, failed, open_study, outcome_of

    study, sweep = open_study(out), held_sweep(out)
    assert sweep is not None
    rows = [
        Row(
            trial=trial.number,
            changes=sweep.space.settings(trial.params),
            run=str(trial_folder(out, trial.number)),
            **outcome_of(trial).model_dump(),
        )
        for trial in ended(study) + failed(study)
    ]
    return sorted(rows, key=lambda row: (row.top1 is None, -(row.top1 or 0), row.trial))


def best(rows: Sequence[Row]) -> Row:
    """The best trial that trained to its end. Raises RunError, with the first problem, where none did."""
    for row in rows:
        if row.state == "finished":
            return row
    problems = [row.problem for row in rows if row.problem] or ["all were stopped"]
    raise RunError(f"no trial of {len(rows)} trained to its end; the first problem: {problems[0]}")


def table(rows: Sequence[Row]) -> Table:
    """The sweep at a glance."""
    paths = list(rows[0].changes) if rows else []
    page = Table("trial", *(HEADS.get(path, path) for path in paths), "top-1", "step", "state", box=None)
    for row in rows:
        values = [row.changes[path] for path in paths]
        page.add_row(
            str(row.trial),
            *(f"{value:.4g}" if isinstance(value, float) else str(value) for value in values),
            "-" if row.top1 is None else f"{row.top1:.1%}",
            str(row.step),
            row.state,
        )
    return page


def command(
    recipe: str, data: str, out: Path, options: dict[str, str | int | None], changes: dict[str, Any]
) -> str:
    """The `raytrain train` that repeats a trial, ready to paste. Values keep all digits: the plan is the same."""
    given = [part for name, value in options.items() if value is not None for part in (name, str(value))]
    sets = [part for path, value in changes.items() for part in ("--set", f"{path}={json.dumps(value)}")]
    return shlex.join(["raytrain", "train", recipe, "--data", data, "--out", str(out), *given, *sets])
