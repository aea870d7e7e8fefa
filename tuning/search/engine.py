"""The sweep: rounds of rungs until enough trials have come to their end. All that it knows is in the study's ledger."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

from raytrain.claim import run_lock
from raytrain.errors import RunError
from raytrain.plan import flatten
from tuning.dimension import Settings
from tuning.ledger import LEDGER, Called, Ledger
from tuning.search.fidelity import measure
from tuning.search.halving import promotions, stop_after
from tuning.search.rows import (
    ROWS,
    Ended,
    Place,
    Proposal,
    Round,
    RungEnded,
    Study,
    SweepState,
    next_jobs,
    replay,
)
from tuning.search.sampler import propose_batch
from tuning.search.state import told
from tuning.search.values import Executor, RungJob, RungResult
from tuning.space import Point
from tuning.spaces.show import show, show_fixed

Fits = Callable[[Settings], "tuple[str, dict[str, float]]"]
"""Why these changes do not fit the machines, and by how much each limit is exceeded; empty where they do."""

HOPELESS = 3  # batches in a row without a single point that fits


def run_sweep(
    study: Study,
    *,
    out: Path,
    trials: int,
    executor: AbstractContextManager[Executor],
    fits: Fits,
    copy: str | None,
    say: Callable[[str], None],
    call: Called | None = None,
) -> SweepState:
    """Bring the sweep in `out` to `trials` trials, each at its end; what ended before is not run again.

    `call` is what was typed, for the record. `executor` is entered where there is something to run: a foreign folder is
    refused before Ray starts.

    Raises RunError for a foreign, busy or damaged folder and for a space of which nothing fits, what the executor
    raises, and ResumeLater where it was interrupted: the same call goes on.
    """
    with run_lock(out), ExitStack() as stack:
        ledger = Ledger(out, ROWS, copy=copy, say=say)
        claim(ledger, out, study)
        if call is not None:
            ledger.note(call)
        for line in (*show(study.space), *show_fixed(study.space)):
            say(line)
        running: Executor | None = None
        while True:
            state = replay(ledger.rows)
            if jobs := next_jobs(state):
                running = running or stack.enter_context(executor)
                running.run(jobs, lambda job, result: note(ledger, job, result, say))
            elif state.gate is None and (gate := measure(state)) is not None:
                ledger.add(gate)
            elif following := next_round(state, trials, fits):
                ledger.add(following)
            else:
                break
        ended = Ended(trials=trials, best=best(state))
        if state.ended != ended:
            ledger.add(ended)
        return replay(ledger.rows)


def next_round(state: SweepState, trials: int, fits: Fits) -> Round | None:
    """What is done next: promotions first, then new trials, a batch in all. None where all is done.

    Raises RunError where no point of the last batches fitted the machines.
    """
    promoted = promotions(state)[: state.study.batch]
    spent = sum(not trial.asked.infeasible for trial in state.trials)
    count = max(0, min(state.study.batch - len(promoted), trials - spent))
    if not promoted and not count:
        return None
    unfit = [trial.asked.infeasible for trial in state.trials[-HOPELESS * state.study.batch :]]
    if count and len(unfit) == HOPELESS * state.study.batch and all(unfit):
        raise RunError(
            f"none of the last {len(unfit)} points fits: {unfit[-1]}. Narrow --space, or use another --fleet"
        )
    study, begin = state.study, len(state.trials)
    points = propose_batch(
        study.space,
        strategy=study.strategy,
        study_seed=study.seed,
        first=begin,
        size=count,
        told=told(state),
        objectives=study.objectives,
    )
    new = tuple(proposed(study, number, point, fits) for number, point in enumerate(points, start=begin))
    first = stop_after(state, -1)
    begun = tuple(Place(trial=proposal.trial, rung=first) for proposal in new if not proposal.infeasible)
    return Round(new=new, rungs=promoted + begun)


def proposed(study: Study, number: int, point: Point, fits: Fits) -> Proposal:
    """A new trial, with what the plan says of it."""
    why, violations = fits(study.space.settings(point))
    return Proposal(trial=number, point=point, infeasible=why, violations=violations)


def note(ledger: Ledger[Any], job: RungJob, result: RungResult, say: Callable[[str], None]) -> None:
    """Write down how a rung ended, and say it."""
    row = RungEnded(trial=job.trial, rung=job.rung, attempt=job.attempt, result=result)
    ledger.add(row)
    whole = ledger.rows[0].rungs[-1]
    how = f"{result.state} at {result.samples} samples"
    if result.state == "done" and job.samples < whole:
        how = f"{result.samples} of {whole} samples"
    found = f"error {result.error:.1%}" if result.error is not None else "not evaluated"
    again = "" if row.settled else "; it is tried again"
    problem = f": {result.problem}" if result.problem else ""
    say(f"trial {job.trial:3d}  {how}, {found}{problem}{again}")


def best(state: SweepState) -> int | None:
    """The trial of the least error at the end of its training; the first of equals. None where no trial came to it."""
    ends = [(trial.ended[-1].result.error, trial.number) for trial in state.finished]
    return min(((error, number) for error, number in ends if error is not None), default=(math.inf, None))[1]


def claim(ledger: Ledger[Any], out: Path, study: Study) -> None:
    """Make the folder this study's, or check that it is. Raises RunError where it holds another, or other files."""
    if ledger.rows:
        changed = differences(ledger.rows[0], study)
        if changed:
            raise RunError(
                f"{out} holds another sweep; they differ in\n  " + "\n  ".join(changed) + "\n"
                "Use another --out, or the same options to continue it"
            )
        return
    others = [path.name for path in out.iterdir() if not path.name.startswith(".") and path.name != LEDGER]
    if others:
        raise RunError(f"{out} holds other files ({min(others)}, ...); use an empty --out")
    ledger.add(study)


def differences(held: Study, asked: Study) -> list[str]:
    """In what two studies differ, a line each, as the command line has it."""
    before, after = options(held), options(asked)
    return [
        f"{name}: {before.get(name, '(none)')} -> {after.get(name, '(none)')}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def options(study: Study) -> dict[str, str]:
    """What makes it this study, in words."""
    return {
        **flatten(study.base),
        **{f"--space {name}": line for name, line in study.space.lines().items()},
        "--seed": str(study.seed),
        "--strategy": study.strategy,
        "--batch": str(study.batch),
        "--objective": ", ".join(study.objectives),
        "rungs": ", ".join(map(str, study.rungs)),
    }
