"""Short trainings before anything is spent: a network of the recipe, without what is put in its way, on real images.

What they are to find are faults, so they use a learning rate that works for all (the recipe's own is what probes are
for), no drop path, no mixing, no smoothing and no weight decay.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data_shards.loader import Batch, eval_batches, train_batches
from data_shards.mix import held_out, load_data, to_train
from data_shards.shardset import Value
from raytrain.evaluate import evaluate
from raytrain.losses import normalize
from raytrain.models.build import build
from raytrain.plan import RunPlan
from raytrain.ranks import alone
from tuning.method.values import Rate

RATE = 1e-3  # AdamW's own default
BATCH = 64
LAST, ENOUGH = 8, 0.4  # batches, and the share of chance's error below which something was learned


class Lesson(Value):
    """What a short training on the recipe's own stream of images came to.

    train, held_out    errors on the first images of the training split, and on held-out ones
    trained            images per second of its steps, without waiting for images
    """

    steps: int
    train: Rate
    held_out: Rate
    trained: float


class Pupil:
    """A fresh network of the plan's recipe, and where its images are."""

    def __init__(self, plan: RunPlan, data: str) -> None:
        self.plan, self.data, self.there = plan, data, load_data(data)
        recipe, self.ranks = plan.recipe, alone()
        self.device = self.ranks.device
        spec = recipe.model.model_copy(update={"drop_path": 0.0})
        self.network: nn.Module = build(spec, plan.data.classes, recipe.view.image_size, recipe.seed)
        self.network.to(self.device)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=RATE, weight_decay=0.0)
        self.training = to_train(data, self.there, recipe.train_split, recipe.train_fraction)

    def images(self, count: int) -> tuple[Tensor, Tensor]:
        """The first training images as they are evaluated, normalized, and their labels."""
        batches = list(self._clean(self.training.parts[0].split, count))
        images = torch.cat([batch.images for batch in batches])
        return normalize(images.to(self.device)), torch.cat([b.labels for b in batches]).to(self.device)

    def error(self, split: str, count: int) -> Rate:
        """On the first images of a split."""
        with torch.inference_mode():
            found = evaluate(
                self.network,
                self._clean(split, count),
                ranks=self.ranks,
                split=split,
                samples=count,
                classes=self.plan.data.classes,
                bf16=False,
            )
        assert found is not None, "the only rank is the first"
        return Rate(wrong=round((1 - found.top1) * count), of=count)

    def _clean(self, split: str, count: int) -> Iterator[Batch]:
        url, shardset = held_out(self.data, self.there)
        view = self.plan.recipe.view
        return eval_batches(
            url=url,
            shardset=shardset,
            split=split,
            view=view,
            batch_size=BATCH,
            rank=0,
            world=1,
            samples=count,
        )

    def stream(self, batch: int) -> Generator[Batch]:
        """Training images as the recipe's view makes them, in its order."""
        recipe = self.plan.recipe
        return train_batches(
            training=self.training,
            view=recipe.view,
            seed=recipe.seed,
            global_batch=batch,
            micro_batch=batch,
            rank=0,
            world=1,
            samples_seen=0,
            processes=self.plan.placement.loader_processes,
        )

    def step(self, images: Tensor, labels: Tensor) -> tuple[float, int]:
        """One optimizer step; the loss before it, and how many answers were wrong."""
        logits = self.network(images)
        loss = F.cross_entropy(logits, labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return float(loss.detach()), int((logits.argmax(1) != labels).sum())


def first_loss(plan: RunPlan, data: str, count: int) -> float:
    """The mean loss of the fresh network on clean training images, their labels alone being the targets.

    Batch norms take the batch's own statistics, as at the first step: theirs of a fresh network say nothing.
    """
    pupil = Pupil(plan, data)
    images, labels = pupil.images(count)
    with torch.no_grad():
        return float(F.cross_entropy(pupil.network(images), labels))


def by_heart(plan: RunPlan, data: str, count: int, steps: int) -> tuple[Rate, Rate]:
    """The error on one batch after at most so many steps on nothing else; and the least that anybody can reach who
    sees blanks in the images' place, and so gives all of them one answer: that of the commonest label.
    """
    pupil = Pupil(plan, data)
    images, labels = pupil.images(count)
    wrong = count
    for _ in range(steps):
        _, wrong = pupil.step(images, labels)
        if wrong == 0:
            break
    blank = count - int(labels.bincount().max())
    return Rate(wrong=wrong, of=count), Rate(wrong=blank, of=count)


def lesson(
    plan: RunPlan,
    data: str,
    *,
    steps: int,
    seconds: float,
    count: int,
    clock: Callable[[], float] = time.monotonic,
) -> Lesson:
    """Train on the recipe's own images, and look at `count` of them and of the held-out ones, or at all there are.

    It ends after so many steps or seconds, or once the last `LAST` batches were right often enough to tell.
    """
    pupil, began, busy, done = Pupil(plan, data), clock(), 0.0, 0
    batch = min(BATCH, plan.data.train_samples)
    wrong, learned = deque[int](maxlen=LAST), ENOUGH * LAST * batch * (1 - 1 / plan.data.classes)
    with closing(pupil.stream(batch)) as stream:
        while done < steps and clock() - began < seconds and (done < LAST or sum(wrong) > learned):
            made = next(stream)
            asked = clock()
            _, mistakes = pupil.step(normalize(made.images.to(pupil.device)), made.labels.to(pupil.device))
            wrong.append(mistakes)
            busy, done = busy + clock() - asked, done + 1
    first = pupil.training.parts[0]
    return Lesson(
        steps=done,
        train=pupil.error(first.split, min(count, first.chosen.samples)),
        held_out=pupil.error(plan.recipe.eval_split, min(count, plan.data.eval_samples)),
        trained=done * batch / busy,
    )


def reading_speed(
    plan: RunPlan, data: str, batches: int, clock: Callable[[], float] = time.monotonic
) -> float:
    """Images per second that one worker's loader makes, alone; its start is not counted."""
    pupil = Pupil(plan, data)
    batch = min(BATCH, plan.data.train_samples)
    with closing(pupil.stream(batch)) as stream:
        next(stream)
        began = clock()
        for _ in range(batches):
            next(stream)
        return batches * batch / (clock() - began)


def seconds_per_image(
    plan: RunPlan, data: str, steps: int, clock: Callable[[], float] = time.monotonic
) -> float:
    """Of training on one worker here, in batches that fit its memory. The first step is left out: none is as slow."""
    pupil = Pupil(plan, data)
    images, labels = pupil.images(min(BATCH, plan.placement.micro_batch, plan.data.train_samples))
    pupil.step(images, labels)
    began = clock()
    for _ in range(steps):
        pupil.step(images, labels)
    return (clock() - began) / (steps * len(labels))
