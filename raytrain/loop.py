"""The loop: the page to read first. Everything it uses was made elsewhere (`worker.py`) and handed in.

One optimizer step = `accumulation` micro-batches from the data's order, forward and backward on each,
one update with the step's learning rate. What is random is a pure function of (seed, step or sample), so the
loop can stop after any step and go on from TrainState alone.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial

import torch
from numpy.random import Philox
from torch import nn

from data_shards.loader import Batch
from raytrain.delivery import Delivery
from raytrain.engine import UPDATE_EVERY, Engine, StepResult, update_ratio, weights_of
from raytrain.errors import DivergedError, ResumeLater
from raytrain.evaluation import Evaluation
from raytrain.execution import laid_out
from raytrain.losses import distilled, erase, mix, normalize, soft_cross_entropy
from raytrain.plan import RunPlan
from raytrain.ranks import Ranks
from raytrain.runlog import RunLog
from raytrain.schedule import learning_rate
from raytrain.state import TrainState

MOST_SKIPPED_IN_A_ROW = 10


@dataclass(kw_only=True)
class Run:
    """A run's parts. `batches` goes on from `state.samples_seen`; all ranks call `evaluate`, `save`, `durable`.

    `save` takes a snapshot of the step, which becomes a checkpoint behind the next ones; `durable` waits for it.

    `last` is the step to end after, the plan's own or a rung's. `evaluate_train` looks at some of the training images.
    `teacher` gives logits for the images that the network is trained on. `watched` is around each step.
    """

    plan: RunPlan
    state: TrainState
    engine: Engine
    batches: Iterator[Batch]
    delivery: Delivery
    ranks: Ranks
    log: RunLog
    evaluate: Callable[[nn.Module], Evaluation | None]
    save: Callable[[], None]
    durable: Callable[[], None]
    report: Callable[[dict[str, float]], None]
    stop_asked: Callable[[], bool]
    last: int
    watched: Callable[[], AbstractContextManager[None]] = nullcontext
    evaluate_train: Callable[[nn.Module], Evaluation | None] | None = None
    teacher: Callable[[torch.Tensor], torch.Tensor] | None = None
    clock: Callable[[], float] = time.monotonic
    waited: float = field(default=0.0)


def train(run: Run) -> None:
    """Train to the run's last step. Raises ResumeLater, after a checkpoint, when asked to stop before."""
    lengths, state = run.plan.lengths, run.state
    while state.step < run.last:
        with run.watched():
            stop = train_step(run)
        best = due(state.step, lengths.evaluate_every, run.last) and evaluate(run)
        save = stop or best or due(state.step, lengths.checkpoint_every, run.last)
        if save or epoch_ended(run):
            run.delivery.row(state)
        if save:
            run.save()
        if stop:
            break
    run.durable()
    if state.step < run.last:
        raise ResumeLater(
            f"stopped on request after step {state.step}, with a checkpoint; the same command goes on from there"
        )


def due(step: int, every: int, last: int) -> bool:
    """Whether something done `every` steps, and at the end, is due after `step`."""
    return step % every == 0 or step == last


def epoch_ended(run: Run) -> bool:
    """Whether the last step took the last sample of a pass over the data."""
    seen, epoch = run.state.samples_seen, run.plan.data.train_samples
    return seen // epoch > (seen - run.plan.recipe.samples_per_step) // epoch


def train_step(run: Run) -> bool:
    """One optimizer step, logged. Returns whether any rank was asked to stop."""
    plan, state, began = run.plan, run.state, run.clock()
    torch.manual_seed(step_seed(plan.recipe.seed, state.step, run.ranks.rank))
    run.waited = 0.0
    lr = learning_rate(plan, state.step)
    losses = [micro_step(run) for _ in range(plan.placement.accumulation)]
    before = weights_of(run.engine.whole()) if state.step % UPDATE_EVERY == 0 else None
    result = run.engine.step(lr)
    moved = {} if before is None else {"update_ratio": update_ratio(before, run.engine.whole())}
    loss, stop, replaced = agree(run, torch.stack(losses).mean())
    count(state, plan.recipe.samples_per_step, result)
    run.log.step(
        step=state.step,
        epoch=epoch_of(run),
        samples=state.samples_seen,
        loss=loss,
        lr=lr,
        grad_norm=result.grad_norm,
        applied=result.applied,
        seconds=run.clock() - began,
        wait_seconds=run.waited,
        images=plan.recipe.global_batch,
        replaced=replaced,
        **moved,
    )
    if replaced:
        run.delivery.quarantine(state.step)
    if state.skipped_in_a_row > MOST_SKIPPED_IN_A_ROW:
        raise DivergedError(
            f"{state.skipped_in_a_row} steps in a row were not finite, the last being step {state.step} at "
            f"learning rate {lr:.3g}; lower it with --set optimizer.lr=..."
            + (" or use --set precision=fp32" if plan.recipe.precision == "bf16" else "")
            + " (and another --out: this run's plan is fixed)"
        )
    return stop


def micro_step(run: Run) -> torch.Tensor:
    """One micro-batch: wait for it, normalize and mix it on the device, forward and backward."""
    recipe, device, asked = run.plan.recipe, run.ranks.device, run.clock()
    batch = next(run.batches)
    run.waited += run.clock() - asked
    run.delivery.saw(batch)
    images = normalize(batch.images.to(device, non_blocking=True))
    images = erase(images, recipe.regularization, seed=recipe.seed, slots=batch.slots)
    images, targets = mix(
        images,
        batch.labels.to(device),
        classes=run.plan.data.classes,
        regularization=recipe.regularization,
        seed=recipe.seed,
        slots=batch.slots,
    )
    images, loss = laid_out(images, recipe.execution), soft_cross_entropy
    if run.teacher is not None:
        loss = partial(distilled, teacher=run.teacher(images), distillation=recipe.distillation)
    return run.engine.forward_backward(images, targets, loss)


def evaluate(run: Run) -> bool:
    """Evaluate and log; whether it is the best so far. Every rank learns the result, so that all agree on it.

    The weights' average is evaluated beside them, and the weights on training images; the best is the weights' own.
    """
    began, ema, module = run.clock(), run.engine.ema, run.engine.whole()
    evaluation = run.ranks.from_first(run.evaluate(module))
    average = run.evaluate(ema.module) if ema is not None else None
    train = run.evaluate_train(module) if run.evaluate_train is not None else None
    assert evaluation is not None
    best: bool = evaluation.top1 > run.state.best_top1
    if best:
        run.state.best_top1, run.state.best_step = evaluation.top1, run.state.step
    epoch = epoch_of(run)
    seconds = run.clock() - began
    run.log.evaluation(run.state.step, epoch, run.state.samples_seen, evaluation, seconds, average, train)
    run.report({"step": run.state.step, "epoch": epoch, "top1": evaluation.top1, "loss": evaluation.loss})
    return best


def agree(run: Run, loss: torch.Tensor) -> tuple[float, bool, int]:
    """The mean loss, whether any rank was asked to stop, and how many images were replaced, in one collective."""
    mine = torch.tensor([float(run.stop_asked()), float(len(run.delivery.bad))], device=loss.device)
    mean = run.ranks.mean(torch.cat([loss.float()[None], mine]))
    return float(mean[0]), bool(mean[1] > 0), round(float(mean[2]) * run.ranks.world)


def epoch_of(run: Run) -> float:
    """Epochs trained so far, in images: with repeats the data's own epochs are longer."""
    return run.state.samples_seen * run.plan.recipe.regularization.repeats / run.plan.data.train_samples


def count(state: TrainState, samples: int, result: StepResult) -> None:
    """Move the clockwork one step on."""
    state.step += 1
    state.samples_seen += samples
    state.skipped_in_a_row = 0 if result.applied else state.skipped_in_a_row + 1


def step_seed(seed: int, step: int, rank: int) -> int:
    """The seed of torch's generator for one step on one rank: drop path draws from it."""
    return int(Philox(key=[seed, step * 2**20 + rank]).random_raw() >> 1)
