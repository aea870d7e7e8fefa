"""What a sweep found: its trials by error, why they were stopped or not, what it cost, and the best as a command."""

import json
import shlex
from pathlib import Path

from rich.table import Table

from data_shards.shardset import Value
from raytrain.errors import RunError
from tuning.dimension import Settings
from tuning.search.fidelity import reason
from tuning.search.rows import SweepState
from tuning.search.state import told
from tuning.search.told import Objective, Told, front
from tuning.search.values import short

HEADS = {"optimizer.weight_decay": "weight decay", "model.drop_path": "drop path", "optimizer.lr": "lr"}
UNITS = {"error": "error", "gmacs": "GMACs", "images_per_second": "img/s"}


class Found(Value):
    """What a sweep came to: all that it knows, on how many workers a trial trained, and the best as a command."""

    state: SweepState
    workers: int
    command: str


class Hours(Value):
    """Worker-hours of training. `saved` is what stopped trials would have taken to their ends, at their own speeds."""

    spent: float
    saved: float


def hours(state: SweepState, workers: int) -> Hours:
    """What the sweep took, and what halving saved."""
    spent = saved = 0.0
    for trial in state.trials:
        seconds = sum(row.result.seconds for row in trial.ended)
        spent += seconds
        if trial.alive and 0 <= trial.rung < state.last:
            seen = trial.ended[-1].result.samples
            saved += seconds * (state.study.rungs[-1] - seen) / seen
    return Hours(spent=spent * workers / 3600, saved=saved * workers / 3600)


def winner(state: SweepState) -> Told:
    """The best trial that was trained to its end. Raises RunError, with the first problem, where none was."""
    rows = told(state)
    for row in rows:
        if state.ended is not None and row.number == state.ended.best:
            return row
    problems = [row.problem for row in rows if row.problem] or ["all were stopped"]
    raise RunError(f"no trial of {len(rows)} was trained to its end; the first problem: {problems[0]}")


def ranked(state: SweepState) -> list[Told]:
    """Trials that were trained to their ends by error, then those that were stopped, then the others."""
    order = ("done", "stopped", "diverged", "failed", "infeasible")
    return sorted(
        told(state),
        key=lambda trial: (order.index(trial.state), trial.values.get("error", 1.0), trial.number),
    )


def table(state: SweepState) -> Table:
    """The sweep at a glance."""
    names = [param.name for param in state.study.space.params]
    objectives = state.study.objectives
    heads = [*(HEADS.get(name, name) for name in names), *(UNITS[name] for name in objectives)]
    page = Table("trial", *heads, "trained", "state", box=None)
    best = front(told(state), objectives) if len(objectives) > 1 else []
    for trial in ranked(state):
        seen = trial.rungs[-1][0] if trial.rungs else 0
        page.add_row(
            str(trial.number),
            *(short(trial.point[name]) if name in trial.point else "-" for name in names),
            *(figure(name, trial.values[name]) if name in trial.values else "-" for name in objectives),
            f"{seen / state.study.rungs[-1]:.0%}",
            trial.state + (", on the front" if trial in best else ""),
        )
    return page


def words(found: Found) -> list[str]:
    """Below the table: the gate, the cost, and what is wrong with trials that came to nothing."""
    state, cost = found.state, hours(found.state, found.workers)
    saved = f", about {cost.saved:.3g} saved by halving" if cost.saved else ", none saved"
    lost = [f"trial {row.number} {row.state}: {row.problem}" for row in told(state) if row.problem]
    return [f"early stopping {reason(state)}", f"worker-hours: {cost.spent:.3g} spent{saved}", *lost]


def in_json(found: Found) -> str:
    """The same for machines."""
    state, rows = found.state, ranked(found.state)
    return json.dumps(
        {
            "trials": [
                {**row.model_dump(mode="json"), "changes": state.study.space.settings(row.point)}
                for row in rows
            ],
            "gate": state.gate.model_dump(mode="json") if state.gate else None,
            "reason": reason(state),
            "worker_hours": hours(state, found.workers).model_dump(),
            "front": [row.number for row in front(rows, state.study.objectives)],
            "best": winner(state).number,
            "command": found.command,
        }
    )


def command(
    recipe: str, data: str, out: Path, options: dict[str, str | int | None], changes: Settings
) -> str:
    """The `raytrain train` that repeats a trial, ready to paste. Values keep all digits: the plan is the same."""
    given = [part for name, value in options.items() if value is not None for part in (name, str(value))]
    sets = [part for path, value in changes.items() for part in ("--set", f"{path}={json.dumps(value)}")]
    return shlex.join(["raytrain", "train", recipe, "--data", data, "--out", str(out), *given, *sets])


def figure(objective: Objective, value: float) -> str:
    """An objective's value for people."""
    return f"{value:.1%}" if objective == "error" else f"{value:.4g}"
