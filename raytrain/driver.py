"""The driver: one job to its end on a Ray cluster, through lost workers and restarts.

Each attempt is one TorchTrainer. Between attempts the newest checkpoint that verifies is looked up on the store,
so a checkpoint counts as soon as it is durable: Ray's controller need not have heard of it (it polls every two
seconds and would lose the last interval, see docs/LOG.md).
"""

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from shutil import rmtree
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError, WorkerGroupError
from ray.train.torch import TorchConfig, TorchTrainer

from cluster.connect import check_room, connected
from data_shards.errors import DataError, DataProcessError
from data_shards.store import open_store
from raytrain.claim import check_claim, claim, run_lock
from raytrain.errors import ResumeLater, RunError
from raytrain.manifest import newest
from raytrain.plan import RunPlan
from raytrain.runlog import METRICS, event, last_rows
from raytrain.stopping import STOP_FILE, stopping_politely
from raytrain.worker import Job

MOST_FAILURES_WITHOUT_PROGRESS = 3


def run_job(
    job: Job, *, address: str | None = None, say: Callable[[str], None], callbacks: list[Any] | None = None
) -> None:
    """Run or continue a job to its last step.

    The last step is the plan's, or `job.until`. Raises RunError (damage, a foreign or busy run folder, the same step
    failing three times), ClusterError (no room), DataError, or ResumeLater when the run was asked to stop.
    """
    run = Path(job.run)
    quiet_ray()
    placement = job.plan.placement
    with ExitStack() as stack:
        stack.enter_context(run_lock(run))
        check_claim(run, job)
        stack.enter_context(connected(address, environment(job.plan)))
        check_room(placement.workers, placement.cpus_per_worker, placement.gpu)
        claim(job)
        (run / STOP_FILE).unlink(missing_ok=True)
        stack.enter_context(stopping_politely(run, say))
        event(run, "started", workers=job.plan.placement.workers, plan=job.plan.hash)
        failures, last_step = 0, -1
        while True:
            found, passed = newest(open_store(job.run))
            for line in passed:
                event(run, "damaged_checkpoint", problem=line)
                say(f"passed over a damaged checkpoint: {line}")
            if found is not None and found.manifest.step >= job.last:
                say(f"{run} is complete: step {found.manifest.step} of {job.last}")
                break
            say(
                f"starting {placement.workers} worker{'s' if placement.workers > 1 else ''}"
                + (f", going on after step {found.manifest.step}" if found else "")
            )
            try:
                attempt(job.model_copy(update={"resume": found.url if found else None}), callbacks or [])
                break
            except TrainingFailedError as error:
                cause = root_cause(error)
                if (run / STOP_FILE).exists() and not isinstance(cause, (RunError, DataError)):
                    raise ResumeLater(
                        f"stopped while the cluster went down ({one_line(cause)}); "
                        "the same command goes on from the newest checkpoint"
                    ) from None
                if isinstance(cause, (RunError, DataError)) and not isinstance(cause, DataProcessError):
                    raise cause from None
                step = reached(run)
                failures = failures + 1 if step <= last_step else 1
                last_step = max(step, last_step)
                event(run, "worker_lost", step=step, cause=one_line(cause), detail=str(cause))
                if failures >= MOST_FAILURES_WITHOUT_PROGRESS:
                    raise RunError(
                        f"stopped: {failures} failures in a row at step {step + 1}, the last: {one_line(cause)}. "
                        f"The last checkpoint is kept; see {run}/events.jsonl"
                    ) from None
                say(
                    f"lost a worker after step {step} ({one_line(cause)}); restarting from the newest checkpoint"
                )
        event(run, "finished", step=job.last)


def attempt(job: Job, callbacks: list[Any]) -> None:
    """One worker group from the job's checkpoint to the end or the first failure."""
    placement = job.plan.placement
    resources: dict[str, float] = {"CPU": placement.cpus_per_worker}
    if placement.gpu:
        resources["GPU"] = 1
    trainer = TorchTrainer(
        ray_worker,
        train_loop_config={"job": job.model_dump(mode="json")},
        torch_config=TorchConfig(backend="nccl" if placement.gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=placement.workers,
            use_gpu=placement.gpu,
            resources_per_worker=resources,
            placement_strategy=placement.strategy,
        ),
        run_config=RunConfig(
            name=f"ray-{os.urandom(6).hex()}",  # a used name would bring Ray's own, older state back
            storage_path=str(Path(job.run) / "ray"),
            failure_config=FailureConfig(max_failures=0),
            callbacks=callbacks,
        ),
    )
    try:
        in_thread(trainer.fit)
    finally:
        rmtree(Path(job.run) / "ray", ignore_errors=True)  # Ray's own record of the attempt: nothing reads it


def in_thread(function: Callable[[], object]) -> None:
    """Call it in a thread and wait. Ray's `fit` takes SIGINT from a main thread, and ends without a checkpoint."""
    future: Future[object] = Future()

    def call() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001 -- raised again where the result is waited for
            future.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    future.result()


def ray_worker(config: dict[str, Any]) -> None:
    """What Ray calls on each worker: read the job, learn the rank, work."""
    import ray.train
    import ray.train.torch

    from raytrain.ranks import Ranks
    from raytrain.worker import work

    context = ray.train.get_context()
    ranks = Ranks(
        rank=context.get_world_rank(), world=context.get_world_size(), device=ray.train.torch.get_device()
    )
    work(Job.model_validate(config["job"]), ranks, ray.train.report)


def environment(plan: RunPlan) -> dict[str, str]:
    """What every process of the run finds in its environment."""
    cpu = {} if plan.placement.gpu else {"DS_ACCELERATOR": "cpu"}
    return {
        "OMP_NUM_THREADS": str(plan.placement.cpus_per_worker),
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
        "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "2",
        "WDS_SECURE": "1",
        **cpu,
    }


def reached(run: Path) -> int:
    """The last step that was logged."""
    rows = last_rows(run / METRICS, 1)
    return int(rows[-1]["step"]) if rows else 0


def root_cause(error: TrainingFailedError) -> BaseException:
    """The failure that started it: a declared error of ours, else a death, else the first: not a lost peer's echo."""
    if not isinstance(error, WorkerGroupError):
        cause: BaseException = error
        return cause
    failures: list[BaseException] = list(error.worker_failures.values())
    ours = [failure for failure in failures if isinstance(failure, (RunError, DataError))]
    died = [failure for failure in failures if isinstance(failure, ray.exceptions.RayActorError)]
    first: BaseException = [*ours, *died, *failures, error][0]
    return first


def one_line(error: BaseException) -> str:
    """An error's type and first line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def quiet_ray() -> None:
    """Ray speaks only when something is wrong: the run tells its own story."""
    for name in ("ray", "ray.train", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)
