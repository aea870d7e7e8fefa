"""What the driver makes of an attempt's failure."""

import json
from pathlib import Path

import pytest
from ray.exceptions import RayActorError
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError, WorkerHealthCheckTimeoutError

from data_shards.errors import DataError, DataProcessError
from raytrain.errors import ResumeLater, RunError
from raytrain.failures import Failures, root_cause
from raytrain.runlog import EVENTS, METRICS, read_rows
from raytrain.stopping import STOP_FILE


def group(**failures: Exception) -> WorkerGroupError:
    """A worker group's error, by rank: r1=..."""
    return WorkerGroupError("failed", {int(rank[1:]): failure for rank, failure in failures.items()})


def reset() -> Exception:
    return RuntimeError("Connection reset by peer\nand a long tail")


def failures(run: Path) -> Failures:
    (run / "workers").mkdir()
    (run / "workers" / "rank-1.json").write_text(json.dumps({"host": "h7", "pid": 42}))
    return Failures(run, lambda step: f"samples of step {step}")


def test_an_error_of_ours_comes_before_a_death_and_a_death_before_what_others_say_of_it() -> None:
    ours, death, silent = RunError("full"), RayActorError(), WorkerHealthCheckTimeoutError("hangs")
    assert root_cause(group(r0=reset(), r1=death, r2=ours)) == (2, ours)
    assert root_cause(group(r0=reset(), r1=death)) == (1, death)
    assert root_cause(group(r0=reset(), r1=silent)) == (1, silent)
    asked = WorkerHealthCheckFailedError("A worker health check failed.", failure=death)
    assert root_cause(group(r0=reset(), r1=asked)) == (1, death)
    only = reset()
    assert root_cause(group(r3=only)) == (3, only)


def test_a_lost_worker_is_named_with_its_process_and_host(tmp_path: Path) -> None:
    (tmp_path / METRICS).write_text('{"step": 9}\n')
    found = failures(tmp_path)
    said = found.after(group(r0=reset(), r1=RayActorError()))
    assert said.startswith("worker 1 (process 42 on h7) was lost after step 9 (RayActorError: ")
    assert found.after(group(r0=reset())) == (
        "worker 0 failed after step 9 (RuntimeError: Connection reset by peer); restarting from the newest checkpoint"
    )
    assert [row["worker"] for row in read_rows(tmp_path / EVENTS)] == [
        "worker 1 (process 42 on h7)",
        "worker 0",
    ]


def test_a_lost_controller_is_not_called_a_worker(tmp_path: Path) -> None:
    (tmp_path / METRICS).write_text('{"step": 9}\n')
    said = failures(tmp_path).after(RayActorError())
    assert said.startswith("the controller was lost after step 9 (RayActorError: ")


def test_three_failures_at_one_step_end_the_run_and_name_its_samples(tmp_path: Path) -> None:
    found = failures(tmp_path)
    for step in (4, 5, 5):  # the second is a step further, so it counts anew
        (tmp_path / METRICS).write_text(json.dumps({"step": step}) + "\n")
        found.after(group(r1=RayActorError()))
    with pytest.raises(
        RunError, match=r"^stopped: 3 failures in a row at step 6, .* was lost .*samples of step 6\. The last"
    ):
        found.after(group(r1=RayActorError()))


def test_errors_of_ours_are_no_matter_of_another_attempt_but_for_a_data_process(tmp_path: Path) -> None:
    found = failures(tmp_path)
    with pytest.raises(DataError, match="rotten"):
        found.after(group(r0=DataError("rotten")))
    assert "restarting" in found.after(group(r0=DataProcessError("killed")))


def test_no_place_is_no_failure_and_a_stop_ends_the_waiting(tmp_path: Path) -> None:
    found, nowhere = failures(tmp_path), ControllerError(TimeoutError("30 s"))
    for _ in range(5):
        assert found.after(nowhere).startswith("no place for the workers yet")
    (tmp_path / STOP_FILE).touch()
    with pytest.raises(ResumeLater, match="stopped while it waited for a place"):
        found.after(nowhere)
    with pytest.raises(ResumeLater, match="stopped while the cluster went down"):
        found.after(group(r1=RayActorError()))
