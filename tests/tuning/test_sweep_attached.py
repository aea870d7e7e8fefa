"""Whatever stops a sweep, nothing of it is left on the cluster that it joined. More of it: `benchmarks/sweeps.py`."""

import signal
import time

import pytest
from attached import TOKEN, WORKER, kill_driver, left, processes, rows, start
from ray_head import listening, ray_head
from small_sweeps import small_set

from raytrain.runlog import EVENTS, METRICS, read_rows


@pytest.mark.ray
def test_a_sweep_that_is_killed_and_stopped_leaves_nothing(tmp_path):
    """Kill -9 of a rung's driver, then SIGTERM while the next rung runs; then kill -9 of the sweep itself.

    The cluster has room for one worker: the second rung has the place of the first, or none. It has no dashboard, which
    Ray Train's own cleaner asks.
    """
    data, out = small_set(tmp_path), tmp_path / "out"
    runs = [out / "trials" / name for name in ("000", "001")]

    def begun(run):
        return sum(row["event"] == "started" for row in read_rows(run / EVENTS))

    def workers():
        return {number for number, line in processes(head[TOKEN]).items() if line.startswith(WORKER)}

    def training(run):
        """Wait until a run starts once more, and has a worker that was not there before."""
        starts, before, limit = begun(run), workers(), time.monotonic() + 300
        while begun(run) == starts or not workers() - before:
            assert sweep.poll() is None, out.with_suffix(".log").read_text()
            assert time.monotonic() < limit, processes(head[TOKEN])
            time.sleep(0.1)

    def remains():
        found = left(head)
        return found["groups"], found["actors"], found["processes"]

    with ray_head(tmp_path, cpus=1, jobs_api=False) as head:
        listening(head)
        sweep = start(head, data, out, 2)
        training(runs[0])
        kill_driver(runs[0])
        training(runs[1])
        sweep.send_signal(signal.SIGTERM)
        assert sweep.wait() == 75
        assert remains() == ([], [], {})
        ended = [(row["trial"], row["attempt"], row["result"]["problem"]) for row in rows(out, "rung")]
        assert ended == [(0, 0, "its driver process died")]
        assert [row["step"] for row in read_rows(runs[1] / METRICS)] == [1], (
            "a step, its checkpoint, and no more"
        )

        sweep = start(head, data, out, 2)
        training(runs[0])
        sweep.kill()
        sweep.wait()
        assert remains() == ([], [], {})
