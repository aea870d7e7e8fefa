"""The worker: what every rank does. Build the parts from the plan, restore or start, run the loop.

`work` knows nothing of Ray: the driver's Ray function calls it, and so does a test with a rank of its own.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import nn

from data_shards.loader import Batch, eval_batches, train_batches
from data_shards.mix import Data, held_out, load_data, to_train
from data_shards.store import open_store
from data_shards.training import Training
from raytrain import checkpoint
from raytrain.delivery import Delivery, known_bad
from raytrain.ema import Ema
from raytrain.engine import Engine, TorchEngine, average_buffers
from raytrain.errors import RunError
from raytrain.evaluate import evaluate
from raytrain.evaluation import Evaluation
from raytrain.execution import lay_out, prepare
from raytrain.hang import HangWatch, stacks_file
from raytrain.job import Job
from raytrain.loop import Run, train
from raytrain.manifest import verify
from raytrain.microbatch import Fits, on_device, settle
from raytrain.models.build import build
from raytrain.optim import make_optimizer
from raytrain.plan import RunPlan
from raytrain.ranks import Ranks, use_files, use_threads
from raytrain.remote import LOGS, Mirror, send_logs, working
from raytrain.runlog import RunLog, say_who
from raytrain.saving import Saver
from raytrain.state import TrainState
from raytrain.stopping import STOP_FILE
from raytrain.teacher import load_teacher
from raytrain.weights.start import starting_weights
from raytrain.workplace import workplace


def nothing(_: dict[str, float]) -> None:
    """A report hook for runs nobody listens to."""


def work(
    job: Job,
    ranks: Ranks,
    report: Callable[[dict[str, float]], None] = nothing,
    trial: Callable[[RunPlan, Ranks], Fits] = on_device,
) -> None:
    """Run the job on this rank to its end. Raises RunError, DataError, or ResumeLater when asked to stop.

    `trial` says which micro-batches fit, where the plan leaves that open.
    """
    with workplace(job) as here:
        work_at(here, ranks, report, trial)


def work_at(
    job: Job,
    ranks: Ranks,
    report: Callable[[dict[str, float]], None],
    trial: Callable[[RunPlan, Ranks], Fits],
) -> None:
    """The same, in this process's folder."""
    plan, run = job.plan, Path(job.run)
    use_threads(plan.placement.cpus_per_worker)
    use_files()
    say_who(run, ranks.rank)
    mirror = Mirror(run, job.remote)
    if ranks.first:
        mirror.pull(*LOGS)
    data = load_data(job.data_url)
    if data.fingerprint != plan.data.fingerprint:
        raise RunError(
            f"the data at {job.data_url} changed under the run: fingerprint {data.fingerprint[:12]}, "
            f"the plan was made for {plan.data.fingerprint[:12]}"
        )
    log = RunLog(run if ranks.first else None, job.remote)
    job = job.model_copy(update={"plan": settle(plan, ranks, log, trial)})
    engine, state = start(job, data, ranks, log)
    log.start(state.step)
    send = partial(send_logs, mirror, ranks.rank)
    saver = Saver(
        store=open_store(job.place), plan=job.plan, classes=data.classes, ranks=ranks, log=log, send_logs=send
    )
    watch = HangWatch(stacks_file(run, ranks.rank))
    try:
        parts = assemble(job, data, ranks, log, engine, state, saver, report)
        with working(mirror, ranks.rank):
            train(replace(parts, watched=watch.step))
    finally:
        saver.close()
        watch.close()
        log.close()
        send()


def start(job: Job, data: Data, ranks: Ranks, log: RunLog) -> tuple[Engine, TrainState]:
    """An engine and its state: from the checkpoint to resume, the one to fine-tune, or from scratch."""
    plan = job.plan
    module = build(plan.recipe.model, plan.data.classes, plan.recipe.view.image_size, seed=plan.recipe.seed)
    if plan.init is not None and job.resume is None:
        weights, lines = starting_weights(plan.init, plan.recipe.model, module, data.classes)
        module.load_state_dict(weights)
        log.transfer(lines)
    module.to(ranks.device)
    optimizer = make_optimizer(module, plan.recipe, plan.lr)
    ema = Ema(module, plan.recipe.ema_decay) if plan.recipe.ema_decay is not None else None
    prepare(module, plan.recipe.execution)
    engine: Engine
    if plan.placement.engine == "deepspeed":
        from raytrain.engine_deepspeed import DeepSpeedEngine

        engine = DeepSpeedEngine(module, optimizer, plan, ema)
    else:
        lay_out(module, plan.recipe.execution)
        engine = TorchEngine(
            module,
            optimizer,
            device=ranks.device,
            accumulation=plan.placement.accumulation,
            clip_norm=plan.recipe.optimizer.clip_norm,
            bf16=plan.recipe.precision == "bf16",
            ema=ema,
        )
    if job.resume is None:
        return engine, TrainState()
    state, tensors = checkpoint.load_engine(verify(job.resume))
    engine.load(tensors)
    log.event("resumed", step=state.step, world=ranks.world)
    return engine, state


def assemble(
    job: Job,
    data: Data,
    ranks: Ranks,
    log: RunLog,
    engine: Engine,
    state: TrainState,
    saver: Saver,
    report: Callable[[dict[str, float]], None],
) -> Run:
    """Hand the loop its parts."""
    plan, recipe = job.plan, job.plan.recipe
    stop_file = Path(job.run) / STOP_FILE
    training = to_train(job.data_url, data, recipe.train_split, recipe.train_fraction)
    held_url, held = held_out(job.data_url, data)

    def evaluate_on(split: str, samples: int, module: nn.Module) -> Evaluation | None:
        average_buffers(module)  # all ranks must evaluate one network
        batches = eval_batches(
            url=held_url,
            shardset=held,
            split=split,
            view=recipe.view,
            batch_size=4 * plan.placement.micro_batch,  # no activations are kept here
            rank=ranks.rank,
            world=ranks.world,
            processes=plan.placement.loader_processes,
            samples=samples,
        )
        return evaluate(
            module,
            batches,
            ranks=ranks,
            split=split,
            samples=samples,
            classes=plan.data.classes,
            bf16=recipe.precision == "bf16",
        )

    return Run(
        plan=plan,
        state=state,
        engine=engine,
        batches=batches_of(plan, training, ranks, state.samples_seen),
        delivery=Delivery(
            ranks=ranks,
            log=log,
            training=training,
            max_bad=job.max_bad,
            known=known_bad(log),
        ),
        ranks=ranks,
        log=log,
        evaluate=partial(evaluate_on, recipe.eval_split, plan.data.eval_samples),
        evaluate_train=partial(evaluate_on, training.parts[0].split, plan.data.train_slice)
        if plan.data.train_slice
        else None,
        save=partial(saver.save, engine, state),
        durable=saver.durable,
        report=report,
        stop_asked=stop_file.exists,
        last=job.last,
        teacher=load_teacher(plan.teacher, plan, data.classes, ranks.device) if plan.teacher else None,
    )


def batches_of(plan: RunPlan, training: Training, ranks: Ranks, samples_seen: int) -> Iterator[Batch]:
    """The micro-batches of this rank, from the first sample that no step has had."""
    recipe = plan.recipe
    return train_batches(
        training=training,
        view=recipe.view,
        seed=recipe.seed,
        global_batch=recipe.samples_per_step,
        micro_batch=plan.placement.micro_batch // recipe.regularization.repeats,
        repeats=recipe.regularization.repeats,
        sizes=tuple((step * recipe.samples_per_step, side) for step, side in plan.lengths.sizes),
        rank=ranks.rank,
        world=ranks.world,
        samples_seen=samples_seen,
        processes=plan.placement.loader_processes,
    )
