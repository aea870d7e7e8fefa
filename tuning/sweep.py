"""The sweep: as many trials at a time as the cluster holds, each a nested Ray Train run, until enough have ended."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from ray import tune

from cluster.connect import check_room, connected, room
from cluster.errors import ClusterUsageError
from data_shards.store import open_store
from raytrain.claim import run_lock
from raytrain.driver import environment, quiet_ray
from raytrain.errors import ResumeLater, RunError, UsageError
from raytrain.plan import differences
from tuning.asha import GentleASHA
from tuning.study import StudySearch, ended, failed, open_study
from tuning.tell import Teller
from tuning.trial import SWEEP, Sweep, held_sweep, run_trial, trial_plan

DRIVER = {
    "memory": 1
}  # one byte, since Tune refuses nothing: CPUs would be taken from the trial's own workers


def run_sweep(
    sweep: Sweep,
    *,
    out: Path,
    trials: int,
    concurrency: int | None,
    address: str | None,
    say: Callable[[str], None],
) -> None:
    """Bring the sweep in `out` to `trials` ended trials; those that ended before are not run again.

    Raises UsageError for a space that changes the trials' length, RunError for a foreign or busy folder,
    ClusterError where a trial does not fit, ResumeLater where it was interrupted.
    """
    check_lengths(sweep)
    with run_lock(out):
        claim(out, sweep)
        study = open_study(out)
        wanted, failed_before = trials - len(ended(study)), len(failed(study))
        if wanted <= 0:
            return
        # what Ray prints itself is no result: it goes where the progress goes
        with (
            redirect_stdout(sys.stderr),
            connected(address, environment(sweep.plan)),
            terminating_like_ctrl_c(),
        ):
            search(sweep, out, wanted, at_once(sweep, concurrency), say)
        missing = trials - len(ended(study)) - (len(failed(study)) - failed_before)
    if missing > 0:
        raise ResumeLater(
            f"the sweep was interrupted with {missing} of {trials} trials to go; the same command continues it"
        )


def search(sweep: Sweep, out: Path, wanted: int, concurrency: int, say: Callable[[str], None]) -> None:
    """Run Ray Tune until `wanted` more trials have ended, or until Ctrl-C."""
    quiet_ray()
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"  # the runs keep their own logs
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the new output ignores verbose=0
    os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = "1"  # a trial that diverges early has no evaluation
    scheduler = GentleASHA(out=out, steps=sweep.plan.lengths.steps, grace=sweep.grace)
    for trial in ended(open_study(out)):
        scheduler.remember(f"earlier-{trial.number}", trial.intermediate_values)
    function = tune.with_parameters(run_trial, sweep=sweep, out=str(out))
    say(f"{wanted} trials to go, {concurrency} at a time, in {out}")
    tune.Tuner(
        tune.with_resources(function, DRIVER),
        tune_config=tune.TuneConfig(
            search_alg=StudySearch(sweep, out),
            scheduler=scheduler,
            num_samples=wanted,
            max_concurrent_trials=concurrency,
        ),
        run_config=tune.RunConfig(
            name=f"tune-{os.urandom(6).hex()}",
            storage_path=str(out / "ray"),
            verbose=0,
            callbacks=[Teller(out, say)],
        ),
    ).fit()


def at_once(sweep: Sweep, concurrency: int | None) -> int:
    """How many trials run side by side: as many as fit. More would start drivers that wait for ever."""
    placement = sweep.plan.placement
    check_room(placement.workers, placement.cpus_per_worker, placement.gpu)
    most = room(placement.cpus_per_worker, placement.gpu) // placement.workers
    if concurrency is not None and concurrency > most:
        raise ClusterUsageError(
            f"--concurrency {concurrency}: the cluster holds {most} trial(s) of {placement.workers} worker(s) at a time"
        )
    return concurrency or most


def check_lengths(sweep: Sweep) -> None:
    """Resolve the ends of every dimension: trials are compared step by step, so they need equal lengths."""
    base = sweep.plan.lengths
    for param in sweep.space.params:
        for changes in param.every:
            lengths = trial_plan(sweep, changes).lengths
            if (lengths.steps, lengths.evaluate_every) != (base.steps, base.evaluate_every):
                raise UsageError(
                    f"--space {param.name}: at {', '.join(map(str, changes.values()))} a trial has "
                    f"{lengths.steps} steps, evaluated every "
                    f"{lengths.evaluate_every}, the recipe's own {base.steps} and {base.evaluate_every}; "
                    "trials of different lengths cannot be compared. Use --set for it"
                )


def claim(out: Path, sweep: Sweep) -> None:
    """Make the folder this sweep's, or check that it is. Raises RunError where it holds another or other files."""
    store = open_store(str(out))
    held = held_sweep(out)
    if held is not None:
        before, now = options(held), options(sweep)
        changed = differences(held.plan, sweep.plan) + [
            f"{name}: {before.get(name, '(none)')} -> {now.get(name, '(none)')}"
            for name in sorted(before.keys() | now.keys())
            if before.get(name) != now.get(name)
        ]
        if changed:
            raise RunError(
                f"{out} holds another sweep; they differ in\n  " + "\n  ".join(changed) + "\n"
                "Use another --out, or the same options to continue it"
            )
    elif others := [path.name for path in out.iterdir() if not path.name.startswith(".")]:
        raise RunError(f"{out} holds other files ({min(others)}, ...); use an empty --out")
    store.write(SWEEP, sweep.model_dump_json(indent=1).encode())


def options(sweep: Sweep) -> dict[str, str]:
    """What makes this the same search, beside the plan, as the command line has it."""
    space = sweep.space.lines()
    return {**space, "--seed": str(sweep.seed), "--grace": str(sweep.grace)}


@contextmanager
def terminating_like_ctrl_c() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does: Ray Tune listens to SIGINT alone."""
    before = signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
