"""One attempt at a job: a TorchTrainer, its worker group, and the process in which its controller works."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from shutil import rmtree
from typing import Any

import ray
from ray._common.constants import RAY_WARN_BLOCKING_GET_INSIDE_ASYNC_ENV_VAR as WARN_OF_BLOCKING
from ray.exceptions import RayActorError
from ray.train import FailureConfig, Result, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.constants import get_env_vars_to_propagate
from ray.train.v2._internal.execution.controller.controller import TrainController
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raytrain.job import Job


class Controllers:
    """Where the controllers of a job's attempts work, one after another: a process beside the driver.

    Ray Train itself starts a process for each, and every restart waits for its imports.
    """

    def __init__(self) -> None:
        self.home: Any = None

    def run(self, parts: dict[str, Any]) -> Result:
        """Have a controller of these parts work to its end.

        Raises RayActorError if the process dies; the next controller gets a new one.
        """
        if self.home is None:
            here = ray.get_runtime_context().get_node_id()
            self.home = ControllerHome.options(  # type: ignore[attr-defined]  # Ray's decorator
                scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False),
                # a controller blocks its process, which is its own
                runtime_env={"env_vars": {WARN_OF_BLOCKING: "0", **get_env_vars_to_propagate()}},
            ).remote()
        try:
            result: Result = ray.get(self.home.run.remote(parts))
        except RayActorError:
            self.home = None
            raise
        return result


@ray.remote(num_cpus=0)
class ControllerHome:
    """That process, as an actor."""

    async def run(self, parts: dict[str, Any]) -> Result:
        """Make a controller, and see it to its end."""
        controller = TrainController(**parts)
        await controller.run()
        return controller.get_result()


def attempt(job: Job, controllers: Controllers, callbacks: list[Any]) -> None:
    """One worker group from the job's checkpoint to the end or the first failure."""
    placement = job.plan.placement
    resources: dict[str, float] = {"CPU": placement.cpus_per_worker}
    if placement.gpu:
        resources["GPU"] = 1
    trainer = Trainer(
        controllers,
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
            # every failure is the driver's to answer: Ray would go on from the checkpoint that this attempt had
            failure_config=FailureConfig(
                max_failures=0, max_preemption_failures=0, controller_failure_limit=0
            ),
            callbacks=callbacks,
        ),
    )
    try:
        in_thread(trainer.fit)
    finally:
        rmtree(Path(job.run) / "ray", ignore_errors=True)  # Ray's own record of the attempt: nothing reads it


class Trainer(TorchTrainer):  # type: ignore[misc]  # Ray is untyped
    """With `Controllers`, and without two parts of Ray Train that are a process each. It has no options for that.

    Its cleaner of placement groups outlives a killed driver until the cluster's dashboard tells it of that: for ever
    where there is none, or where it asks another Ray's on the same machine; `let_go` is ours. Its manager of Ray
    datasets holds a worker group's start up by seconds, without any.
    """

    def __init__(self, controllers: Controllers, *parts: Any, **named: Any) -> None:
        super().__init__(*parts, **named)
        self.controllers = controllers

    def _create_default_callbacks(self) -> list[Any]:
        made = super()._create_default_callbacks()
        unused = (PlacementGroupCleanerCallback, DatasetsCallback)
        return [callback for callback in made if not isinstance(callback, unused)]

    def _initialize_and_run_controller(self, **parts: Any) -> Result:
        return self.controllers.run(parts)


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
