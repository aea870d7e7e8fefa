"""What every executor promises, held by one class for all of them."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from recorded import LENGTH, read_recording, recording
from small_sweeps import small_set
from trainings import SAMPLES, tiny_training

from raytrain.errors import ResumeLater
from raytrain.manifest import key_of, verify
from raytrain.runlog import METRICS, read_rows
from tuning.search.inprocess import InProcessExecutor
from tuning.search.replay import ReplayExecutor
from tuning.search.values import RungJob

GOOD, HUGE, NONSENSE = 2e-3, 1e30, -1.0


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return small_set(tmp_path_factory.mktemp("executors"))


class ExecutorConformance:
    """A subclass has fixtures: `executor`; `job`, a function of trial, rung and what is to come of it."""

    def run(self, executor, *jobs):
        told, here = [], threading.current_thread()

        def done(job, result):
            assert threading.current_thread() is here
            told.append((job, result))

        executor.run(jobs, done)
        return told

    def test_every_rung_is_told_once_and_a_bad_one_stops_no_other(self, executor, job):
        jobs = [job(0, 0, "good"), job(1, 0, "diverges"), job(2, 0, "fails")]
        told = self.run(executor, *jobs)
        assert sorted(found.trial for found, _ in told) == [0, 1, 2]
        assert all(found in jobs for found, _ in told)
        results = {found.trial: result for found, result in told}
        assert [results[n].state for n in range(3)] == ["done", "diverged", "failed"]
        assert [results[n].error is None for n in range(3)] == [False, True, True]
        assert 0 < results[0].error <= 1
        assert results[0].samples == jobs[0].samples
        assert results[0].seconds > 0
        assert results[2].problem

    def test_a_rung_goes_on_from_its_parent(self, executor, job):
        ((_, first),) = self.run(executor, job(0, 0, "good"))
        ((_, second),) = self.run(executor, job(0, 1, "good"))
        assert (first.state, second.state) == ("done", "done")
        assert second.samples == 2 * first.samples


class TestReplay(ExecutorConformance):
    @pytest.fixture(scope="class")
    def held(self, tmp_path_factory):
        file = recording(tmp_path_factory.mktemp("curves") / "curves.csv", "monotone", configs=2)
        file.write_text(file.read_text() + "lost,64,nan,1\nlost,1024,nan,2\nlate,1000,0.5,1\n")
        return read_recording(file)

    @pytest.fixture(params=[1, 2])
    def executor(self, held, request):
        return ReplayExecutor(held, request.param)

    @pytest.fixture
    def job(self):
        names = {"good": "c0", "diverges": "lost", "fails": "late"}
        return lambda trial, rung, what: RungJob(
            trial=trial, rung=rung, changes={"config": names[what]}, begun=rung * LENGTH // 2,
            samples=(rung + 1) * LENGTH // 2, folder="",
        )  # fmt: skip


def training_job(trial, rung, what):
    """A diverging learning rate, and one that no recipe takes."""
    rates = {"good": GOOD, "diverges": HUGE, "fails": NONSENSE}
    return RungJob(
        trial=trial, rung=rung, changes={"optimizer.lr": rates[what], "optimizer.clip_norm": None},
        begun=rung * SAMPLES // 2, samples=(rung + 1) * SAMPLES // 2, folder=f"trials/{trial:03d}",
    )  # fmt: skip


class TestInProcess(ExecutorConformance):
    @pytest.fixture
    def executor(self, data, tmp_path):
        return InProcessExecutor(tiny_training(data, tmp_path / "study"), lambda _: None)

    @pytest.fixture
    def job(self):
        return training_job

    def test_a_rung_that_ended_on_the_disk_alone_is_not_trained_again(self, executor, job, monkeypatch):
        ((_, result),) = self.run(executor, job(0, 0, "good"))
        monkeypatch.setattr("tuning.search.inprocess.work", None)
        assert self.run(executor, job(0, 0, "good")) == [(job(0, 0, "good"), result)]

    def test_the_weights_are_those_of_one_run(self, executor, job):
        self.run(executor, job(0, 0, "good"))
        self.run(executor, job(0, 1, "good"))
        whole = job(1, 1, "good").model_copy(update={"begun": 0})
        self.run(executor, whole)
        digests = [
            verify(f"{executor.training.study}/trials/{number:03d}/{key_of(8)}")
            .manifest.files["model.pt"]
            .sha256
            for number in (0, 1)
        ]
        assert digests[0] == digests[1]

    def test_sigterm_leaves_a_checkpoint_and_the_rung_goes_on_from_there(self, executor, job):
        run = Path(executor.training.study) / "trials" / "000"

        def end():
            while not read_rows(run / METRICS):
                time.sleep(0.001)
            os.kill(os.getpid(), signal.SIGTERM)

        killer = threading.Thread(target=end)
        killer.start()
        with pytest.raises(ResumeLater, match="the same command continues it"):
            self.run(executor, job(0, 1, "good").model_copy(update={"begun": 0}))
        killer.join()
        steps = len(read_rows(run / METRICS))
        assert 0 < steps < 8
        assert (run / key_of(steps) / "MANIFEST.json").exists()
        ((_, result),) = self.run(executor, job(0, 1, "good").model_copy(update={"begun": 0}))
        assert result.state == "done"
        assert [row["step"] for row in read_rows(run / METRICS)] == list(range(1, 9))

    def test_a_worker_that_dies_is_a_result(self, executor, job, monkeypatch):
        def dies(*_):
            raise MemoryError("out of memory")

        monkeypatch.setattr("tuning.search.inprocess.work", dies)
        ((_, result),) = self.run(executor, job(0, 0, "good"))
        assert (result.state, result.problem) == ("failed", "MemoryError: out of memory")


@pytest.mark.ray
@pytest.mark.timeout(1500)
class TestTune(ExecutorConformance):
    @pytest.fixture(scope="class")
    def cluster(self, data, tmp_path_factory):
        from cluster.connect import connected
        from raytrain.driver import environment

        with connected("local", environment(tiny_training(data, tmp_path_factory.mktemp("plan")).plan)):
            yield

    @pytest.fixture
    def executor(self, cluster, data, tmp_path):  # noqa: ARG002 -- connected
        from ray.util import placement_group_table

        from tuning.search.tune_jobs import tune_executor

        training = tiny_training(data, tmp_path / "study", engine="deepspeed")
        with tune_executor(training, concurrency=None, address=None, say=print) as made:
            yield made
        assert {group["state"] for group in placement_group_table().values()} <= {"REMOVED"}

    @pytest.fixture
    def job(self):
        return training_job

    def test_a_rung_whose_driver_process_dies_failed(self, executor, job):
        from types import SimpleNamespace

        from tuning.search.tune_jobs import Listener

        told = []
        listener = Listener(Path(executor.training.study), lambda *found: told.append(found), lambda _: None)
        lost = SimpleNamespace(trial_id="t", config={"job": job(3, 0, "good").model_dump(mode="json")})
        listener.on_trial_start(trial=lost)
        listener.on_trial_error(trial=lost)
        ((found, result),) = told
        assert (found, result.state, result.problem) == (
            job(3, 0, "good"),
            "failed",
            "its driver process died",
        )

    def test_more_at_once_than_there_is_room_for_is_one_message(self, executor):
        from cluster.errors import ClusterError, ClusterUsageError
        from tuning.search.tune_jobs import at_once

        with pytest.raises(ClusterUsageError, match=r"--concurrency 99: the cluster holds \d+ trial"):
            at_once(executor.training, 99)
        plan = executor.training.plan
        placement = plan.placement.model_copy(update={"gpu": True})
        starved = executor.training.model_copy(
            update={"plan": plan.model_copy(update={"placement": placement})}
        )
        with pytest.raises(ClusterError, match=r"1 worker of 1 CPU \+ 1 GPU each do not fit"):
            at_once(starved, None)
