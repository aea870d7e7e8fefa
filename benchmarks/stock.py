"""The same training under stock Ray Train: its checkpoints, its restarts, its defaults."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raytrain.job import Job


def train_stock(job: "Job", interval: int) -> None:
    """Train to the end, as Ray's guide for fault tolerance does it, with any number of failures.

    Checkpoints are reported every `interval` steps, and a new worker group begins at the one that Ray hands it.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    TorchTrainer(
        stock_worker,
        train_loop_config={"job": job.model_dump(mode="json"), "interval": interval},
        torch_config=TorchConfig(backend="gloo"),
        scaling_config=ScalingConfig(num_workers=job.plan.placement.workers),
        run_config=RunConfig(
            name="stock",
            storage_path=str(Path(job.run) / "ray"),
            failure_config=FailureConfig(max_failures=-1),
            callbacks=[noticing(Path(job.run))],
        ),
    ).fit()


def noticing(run: Path) -> Any:
    """Ray's callback for failures, which only writes down that there was one."""
    from ray.train import UserCallback

    from raytrain.runlog import event

    class Noticing(UserCallback):  # type: ignore[misc]  # Ray is untyped
        def after_exception(self, **_: Any) -> None:
            event(run, "worker_lost")

    return Noticing()


def stock_worker(config: dict[str, Any]) -> None:
    """Raytrain's steps, with its log of steps; nothing of its checkpoints."""
    import ray.train
    import ray.train.torch
    import torch

    from data_shards.mix import load_data, to_train
    from data_shards.store import open_store
    from raytrain.job import Job
    from raytrain.loop import train_step
    from raytrain.ranks import Ranks, use_files, use_threads
    from raytrain.runlog import RunLog, say_who
    from raytrain.saving import Saver
    from raytrain.worker import assemble, batches_of, nothing, start

    job, context = Job.model_validate(config["job"]), ray.train.get_context()
    ranks = Ranks(
        rank=context.get_world_rank(), world=context.get_world_size(), device=ray.train.torch.get_device()
    )
    run, plan = Path(job.run), job.plan
    use_threads(1)
    use_files()
    say_who(run, ranks.rank)
    data, log = load_data(job.data_url), RunLog(run if ranks.first else None)
    engine, state = start(job, data, ranks, log)
    handed = ray.train.get_checkpoint()
    if handed:
        with handed.as_directory() as folder:
            saved = torch.load(Path(folder) / "all.pt", weights_only=False)
        engine.load(saved["engine"])
        state.step, state.samples_seen = saved["step"], saved["samples_seen"]
        log.event("resumed", step=state.step, world=ranks.world)
    log.start(state.step)
    saver = Saver(store=open_store(job.run), plan=plan, classes=data.classes, ranks=ranks, log=log)
    parts = assemble(job, data, ranks, log, engine, state, saver, nothing)
    training = to_train(job.data_url, data, plan.recipe.train_split)
    parts = replace(parts, batches=batches_of(plan, training, ranks, state.samples_seen))
    while state.step < plan.lengths.steps:
        train_step(parts)
        if state.step % config["interval"] == 0:
            saved = {"engine": engine.save(), "step": state.step, "samples_seen": state.samples_seen}
            report(saved, ranks.first)


def report(saved: dict[str, Any], first: bool) -> None:
    """Hand the checkpoint to Ray, which copies it to its storage."""
    import ray.train
    import torch

    if not first:
        ray.train.report({"step": saved["step"]})
        return
    with tempfile.TemporaryDirectory() as folder:
        torch.save(saved, Path(folder) / "all.pt")
        ray.train.report({"step": saved["step"]}, checkpoint=ray.train.Checkpoint.from_directory(folder))
