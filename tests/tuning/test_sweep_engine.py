"""The sweep on recorded curves: what it decides, that a kill loses nothing, and that concurrency changes nothing."""

import json
import os
import random
import signal
import time
from contextlib import nullcontext

import pytest
from recorded import LENGTH, ReplayExecutor, fit, read_recording, recording, study

from raytrain.errors import ResumeLater, RunError, UsageError
from tuning.ledger import LEDGER
from tuning.search.engine import run_sweep
from tuning.search.fidelity import reason
from tuning.search.halving import rungs_of
from tuning.search.values import RungResult

RUNGS = rungs_of(LENGTH, first=1 / 8)
HALF = rungs_of(LENGTH)


def sweep(out, held, *, rungs=RUNGS, trials=32, executor=None, said=None, copy=None, **changes):
    lines = [] if said is None else said
    return run_sweep(
        study(held, rungs).model_copy(update=changes),
        out=out,
        trials=trials,
        executor=nullcontext(executor or ReplayExecutor(held)),
        fits=fit,
        copy=copy,
        say=lines.append,
    )


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    root = tmp_path_factory.mktemp("curves")
    return {name: read_recording(recording(root / f"{name}.csv", name)) for name in ("monotone", "crossing")}


def seconds(state):
    return sum(row.result.seconds for trial in state.trials for row in trial.ended)


def errors_at_the_end(held):
    return {name: points[-1].error for name, points in held.curves.items()}


def test_rungs_are_halves_down_to_the_first():
    assert rungs_of(1000) == (500, 1000)
    assert RUNGS == (128, 256, 512, 1024)
    assert rungs_of(1) == (1,)


def test_where_early_ranks_hold_halving_opens_and_costs_less(held, tmp_path):
    state = sweep(tmp_path / "out", held["monotone"], trials=65)
    assert all(rung.open for rung in state.gate.rungs)
    assert state.gate.trials == tuple(range(8))
    ends = errors_at_the_end(held["monotone"])
    winner = state.trials[state.ended.best]
    assert winner.asked.point["config"] == min(ends, key=ends.get)
    assert seconds(state) <= 0.4 * 65 * 16  # 8 in full for the gate, then 1/8 each and halves of them
    assert "correlation 1.00 (needs 0.80)" in reason(state)


def test_where_early_ranks_mislead_halving_stays_off(held, tmp_path):
    state = sweep(tmp_path / "out", held["crossing"], trials=65)
    assert not any(rung.open for rung in state.gate.rungs)
    ends = errors_at_the_end(held["crossing"])
    assert state.trials[state.ended.best].asked.point["config"] == min(ends, key=ends.get)
    assert seconds(state) == 65 * 16
    assert len(state.finished) == 65
    assert "every trial was trained to its end" in reason(state)


def test_the_same_trials_and_the_same_best_in_5_of_5_runs_at_concurrency_1_and_2(held, tmp_path):
    states, orders = set(), set()
    for concurrency in (1, 2):
        for run in range(5):
            out, executor = tmp_path / f"{concurrency}-{run}", at_once(held["monotone"], run, concurrency)
            state = sweep(out, held["monotone"], trials=16, executor=executor)
            states.add(state.model_dump_json(exclude={"trials": {"__all__": {"ended"}}}))
            orders.add(tuple((row["trial"], row["rung"]) for row in ledger(out) if row["kind"] == "rung"))
    assert len(states) == 1
    assert len(orders) > 1, "they really ended in another order"


def at_once(recording, run, concurrency):
    """The same curves, at other speeds: every run ends in another order."""
    draw = random.Random(run)
    pace = {name: draw.uniform(0.5, 2) for name in recording.curves}
    curves = {
        name: tuple(point.model_copy(update={"seconds": point.seconds * pace[name]}) for point in points)
        for name, points in recording.curves.items()
    }
    return ReplayExecutor(recording.model_copy(update={"curves": curves}), concurrency)


class Witness(ReplayExecutor):
    """Notes when a rung begins and ends, as a training leaves traces on the disk."""

    def __init__(self, recording, file):
        super().__init__(recording)
        self.file = file

    def run(self, jobs, done):
        for job in jobs:
            for what in ("begins", "ends"):
                with self.file.open("a") as file:
                    file.write(f"{what} {job.trial} {job.rung}\n")
                time.sleep(0.002)
            done(job, self.result(job))


def test_kill_9_at_20_moments_loses_no_rung_that_ended_and_repeats_none(held, tmp_path):
    out, file, kills, draw = tmp_path / "out", tmp_path / "witness", 0, random.Random(0)
    whole = sweep(tmp_path / "whole", held["monotone"], trials=64)
    while kills < 20:
        child = os.fork()
        if child == 0:
            sweep(out, held["monotone"], trials=64, executor=Witness(held["monotone"], file))
            os._exit(0)
        time.sleep(draw.uniform(0.002, 0.03))
        known = rungs_in(out)
        os.kill(child, signal.SIGKILL)
        kills += 1
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL, "it was at work"
        assert known <= rungs_in(out), "what was written stays"
    state = sweep(out, held["monotone"], trials=64, executor=Witness(held["monotone"], file))
    assert state == whole
    rows = [(row["trial"], row["rung"]) for row in ledger(out) if row["kind"] == "rung"]
    assert len(rows) == len(set(rows)), "no rung has two rows"
    begun = [line for line in file.read_text().splitlines() if line.startswith("begins")]
    assert len(begun) <= len(rows) + kills, "a kill costs the running rung"


def ledger(out):
    lines = (out / LEDGER).read_bytes().splitlines(keepends=True) if (out / LEDGER).exists() else []
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def rungs_in(out):
    return {(row["trial"], row["rung"]) for row in ledger(out) if row["kind"] == "rung"}


class Breaking(ReplayExecutor):
    """A worker dies in the trials named, so many times; Ctrl-C comes after `until` rungs."""

    def __init__(self, recording, deaths=None, until=None):
        super().__init__(recording)
        self.deaths, self.until, self.jobs = dict(deaths or {}), until, []

    def run(self, jobs, done):
        for job in jobs:
            if self.until is not None and len(self.jobs) == self.until:
                raise ResumeLater("interrupted")
            self.jobs.append(job)
            if self.deaths.get(job.trial, 0) > 0:
                self.deaths[job.trial] -= 1
                done(
                    job,
                    RungResult(state="failed", samples=0, error=None, seconds=1.0, problem="a worker died"),
                )
            else:
                done(job, self.result(job))


def test_a_rung_whose_worker_dies_is_tried_twice_more_and_then_marked(held, tmp_path):
    executor, said = Breaking(held["monotone"], deaths={1: 2, 2: 99}), []
    state = sweep(tmp_path / "out", held["monotone"], trials=9, executor=executor, said=said)
    assert [job.attempt for job in executor.jobs if (job.trial, job.rung) == (1, 0)] == [0, 1, 2]
    assert [(job.rung, job.attempt) for job in executor.jobs if job.trial == 2] == [(0, 0), (0, 1), (0, 2)]
    assert (state.trials[1].alive, state.trials[2].alive) == (True, False)
    assert state.trials[2].ended[-1].result.problem == "a worker died"
    assert state.gate.trials == (0, 1, 3, 4, 5, 6, 7, 8), "measured on those that came to their end"
    failed = "trial   2  failed at 0 samples, not evaluated: a worker died"
    assert [line for line in said if line.startswith(failed)] == [f"{failed}; it is tried again"] * 2 + [
        failed
    ]


def test_a_rung_is_told_as_a_part_and_the_last_as_the_end(held, tmp_path):
    said: list[str] = []
    sweep(tmp_path / "out", held["monotone"], trials=1, said=said)
    ends = [line.split(",")[0].removeprefix("trial   0  ") for line in said if "error" in line]
    parts = [f"{LENGTH // share} of {LENGTH} samples" for share in (8, 4, 2)]
    assert ends == [*parts, f"done at {LENGTH} samples"]


def test_an_interrupted_sweep_goes_on_where_it_was(held, tmp_path):
    whole = sweep(tmp_path / "whole", held["monotone"])
    with pytest.raises(ResumeLater):
        sweep(tmp_path / "out", held["monotone"], executor=Breaking(held["monotone"], until=7))
    rest = Breaking(held["monotone"])
    assert sweep(tmp_path / "out", held["monotone"], executor=rest) == whole
    assert len(rest.jobs) + 7 == sum(row["kind"] == "rung" for row in ledger(tmp_path / "whole"))
    idle = Breaking(held["monotone"])
    sweep(tmp_path / "out", held["monotone"], executor=idle)
    assert idle.jobs == [], "what is done is not run again"


def test_a_sweep_whose_folder_was_lost_goes_on_from_its_copy(held, tmp_path, s3_url):
    whole = sweep(tmp_path / "whole", held["monotone"], trials=12)
    with pytest.raises(ResumeLater):
        sweep(
            tmp_path / "a",
            held["monotone"],
            trials=12,
            copy=s3_url,
            executor=Breaking(held["monotone"], until=7),
        )
    rest = Breaking(held["monotone"])
    assert sweep(tmp_path / "b", held["monotone"], trials=12, copy=s3_url, executor=rest) == whole
    assert len(rest.jobs) + 7 == len(rungs_in(tmp_path / "whole"))


def test_more_trials_continue_a_finished_sweep(held, tmp_path):
    sweep(tmp_path / "out", held["monotone"], trials=6)
    state = sweep(tmp_path / "out", held["monotone"], trials=12)
    assert len(state.trials) == 12
    assert state.ended.trials == 12


def test_a_trial_that_diverges_is_never_promoted(tmp_path):
    rows = ["config,samples,error,seconds"]
    for number in range(8):
        for samples in (512, 1024):
            error = "nan" if number % 2 else 0.1 * number + 0.01
            rows.append(f"c{number},{samples},{error},1")
    (tmp_path / "curves.csv").write_text("\n".join(rows))
    bad = read_recording(tmp_path / "curves.csv")
    state = sweep(tmp_path / "out", bad, rungs=HALF, trials=9)
    ended = {trial.asked.point["config"]: [row.result.state for row in trial.ended] for trial in state.trials}
    assert [ended[f"c{number}"] for number in (1, 3, 5, 7)] == [["diverged"]] * 4
    assert [ended[f"c{number}"] for number in (0, 2, 4, 6)] == [["done", "done"]] * 4
    assert state.trials[state.ended.best].asked.point["config"] == "c0"


def test_another_sweep_is_refused_with_what_differs(held, tmp_path):
    sweep(tmp_path / "out", held["monotone"], trials=4)
    with pytest.raises(RunError) as refused:
        sweep(
            tmp_path / "out",
            held["crossing"],
            rungs=HALF,
            seed=1,
            strategy="tpe",
            batch=8,
        )
    told = str(refused.value)
    assert f'recording: "{held["monotone"].digest}" -> "{held["crossing"].digest}"' in told
    assert "--seed: 0 -> 1" in told
    assert "rungs: 128, 256, 512, 1024 -> 512, 1024" in told
    assert "--strategy: sobol -> tpe" in told
    assert "--batch: 4 -> 8" in told


def test_other_files_are_left_alone(held, tmp_path):
    (tmp_path / "photo.jpg").write_text("")
    with pytest.raises(RunError, match=r"holds other files \(photo.jpg, ...\)"):
        sweep(tmp_path, held["monotone"])


def test_a_space_of_which_nothing_fits_is_one_message(held, tmp_path):
    here = ReplayExecutor(held["monotone"])
    with pytest.raises(RunError, match=r"none of the last 12 points fits: 80 GiB a worker.*Narrow --space"):
        run_sweep(
            study(held["monotone"], HALF), out=tmp_path, trials=8, executor=nullcontext(here),
            fits=lambda _: ("80 GiB a worker, the fleet has 40", {"memory": 1.0}), copy=None, say=print,
        )  # fmt: skip


def test_a_trial_that_does_not_fit_is_not_spent(held, tmp_path):
    here = ReplayExecutor(held["monotone"])
    state = run_sweep(
        study(held["monotone"], HALF), out=tmp_path, trials=6, executor=nullcontext(here),
        fits=lambda point: ("too large" * (point["config"] < "c2"), {}), copy=None, say=print,
    )  # fmt: skip
    assert sum(bool(trial.ended) for trial in state.trials) == 6
    assert any(trial.asked.infeasible and not trial.ended for trial in state.trials)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("config,samples,error\n", "lacks the column seconds"),
        ("config,samples,error,seconds\n", "holds no curves"),
        ("config,samples,error,seconds\na,1,x,1\n", "line 2: could not convert"),
        ("config,samples,error,seconds\na,2,.1,1\na,2,.1,1\n", "line 3: the samples of a do not grow"),
    ],
)
def test_a_damaged_recording_names_the_line(tmp_path, text, told):
    (tmp_path / "curves.csv").write_text(text)
    with pytest.raises(UsageError, match=told):
        read_recording(tmp_path / "curves.csv")
