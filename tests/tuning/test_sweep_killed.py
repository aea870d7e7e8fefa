"""kill -9 of a sweep of real trainings: what had ended stays, and the end is that of an undisturbed one."""

import json
import multiprocessing
import random
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import pytest
from recorded import fit
from small_sweeps import small_set
from trainings import tiny_study, tiny_training

from raytrain.manifest import key_of, verify
from raytrain.runlog import EVENTS, read_rows
from tuning.dimension import Range
from tuning.search.engine import run_sweep
from tuning.search.inprocess import InProcessExecutor

KILLS, TRIALS, LAST = 20, 8, 8


def sweep(data: str, out: str) -> None:
    training = tiny_training(data, Path(out))
    run_sweep(
        tiny_study(training, {"optimizer.lr": Range(low=1e-3, high=1e-2, log=True)}, strategy="random"), out=Path(out),
        trials=TRIALS, executor=nullcontext(InProcessExecutor(training, lambda _: None)), fits=fit, copy=None,
        say=lambda _: None,
    )  # fmt: skip


def weights(out: Path) -> list[str]:
    runs = [verify(f"{out}/trials/{number:03d}/{key_of(LAST)}") for number in range(TRIALS)]
    return [run.manifest.files["model.pt"].sha256 for run in runs]


def ended(out: Path) -> list[tuple[int, int]]:
    lines = (
        (out / "ledger.jsonl").read_bytes().splitlines(keepends=True)
        if (out / "ledger.jsonl").exists()
        else []
    )
    rows = [json.loads(line) for line in lines if line.endswith(b"\n")]
    return [(row["trial"], row["rung"]) for row in rows if row["kind"] == "rung"]


@pytest.mark.ranks
def test_trainings_killed_20_times_end_in_the_same_weights(tmp_path):
    data, draw = small_set(tmp_path), random.Random(0)
    context = multiprocessing.get_context(
        "forkserver"
    )  # forked from a process that has loaded torch, and no more
    context.set_forkserver_preload([__name__])

    def start(out: Path) -> multiprocessing.Process:
        process = context.Process(target=sweep, args=(data, str(out)))
        process.start()
        return process

    start(tmp_path / "whole").join()
    kills = 0
    while kills < KILLS:
        process = start(tmp_path / "out")
        process.join(draw.uniform(0.02, 0.15))
        known = ended(tmp_path / "out")
        if not process.is_alive():
            break
        process.kill()
        process.join()
        kills += 1
        assert ended(tmp_path / "out")[: len(known)] == known
    start(tmp_path / "out").join()
    assert kills == KILLS, "it came to its end before"
    assert Counter(ended(tmp_path / "out")) == Counter(ended(tmp_path / "whole"))
    assert weights(tmp_path / "out") == weights(tmp_path / "whole")
    begun = sum(
        row["event"] == "started"
        for number in range(TRIALS)
        for row in read_rows(tmp_path / "out" / "trials" / f"{number:03d}" / EVENTS)
    )
    assert begun <= 2 * TRIALS + KILLS, "a kill costs the running rung alone"
