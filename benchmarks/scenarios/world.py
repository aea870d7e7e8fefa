"""A planted recipe as the world that the methodology acts in: it measures by training, and knows no answer."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scenarios.ensemble import BATCH, Fit, Fitted, fit
from scenarios.images import PIXELS, Codes, Images
from tuning.dimension import Settings
from tuning.method import checks
from tuning.method.values import Cause, Change, Check, Point, Rate, Reading, Trial

LR_NOTCH, DECAY_NOTCH = 3.0, 10.0
MINIVAL, SLICE, VAL, HIDDEN = 6000, 2000, 2000, 8000
SHARDS = 16
ONE_BATCH, ONE_BATCH_STEPS, ONE_BATCH_LR = 32, 300, 1e-2  # by a rate that can: the recipe's own is for probes
SHORT_STEPS, LOOKED_AT = 150, 512
LEAKED = 0.3
LOSS_SCALE = 2.0**17


@dataclass(frozen=True)
class Scenario:
    """A recipe and its data, with what is wrong in them.

    cause              what was planted, as a verdict names it
    target             the error that is asked for: below what any of these recipes can reach
    images, sigma      of the training set; the noise of its pixels
    mislabelled        share of training images whose label was drawn at random
    relabel            whether people could label the training set again
    width ...          the recipe, all in steps of 64 images
    fault              what is broken besides the recipe
    wait               share of the time spent waiting for images
    """

    name: str
    cause: Cause
    target: float = 0.015
    images: int = 8000
    classes: int = 4
    sigma: float = 1.0
    mislabelled: float = 0.0
    relabel: bool = False
    width: int = 32
    lr: float = 1e-2
    weight_decay: float = 1.0
    steps: int = 400
    fault: str = ""
    wait: float = 0.01

    @property
    def settings(self) -> Settings:
        """The recipe's fields that a change may set."""
        return {"width": self.width, "lr": self.lr, "weight_decay": self.weight_decay}


class MadeWorld:
    """A scenario with one draw of its data. Trials that were run are not run again.

    How fast its images are read is not in the preflight: a loader that falls behind does so in training.
    """

    def __init__(self, scenario: Scenario, draw: int) -> None:
        self.scenario, self.draw = scenario, draw
        rng = torch.Generator().manual_seed(1000 + draw)
        self.codes = Codes.draw(scenario.classes, scenario.sigma, rng)
        clean = self.codes.images(
            2 * scenario.images, rng
        )  # the second half: what collecting more would bring
        self.minival, self.val, self.hidden = (self.codes.images(n, rng) for n in (MINIVAL, VAL, HIDDEN))
        noisy = torch.where(
            torch.rand(len(clean), generator=rng) < scenario.mislabelled,
            torch.randint(0, scenario.classes, clean.labels.shape, generator=rng),
            clean.labels,
        )
        self.clean, self.train_set = clean, Images(clean.pixels, noisy)
        self._break(rng)
        self.fitted: dict[str, Fitted] = {}

    def _break(self, rng: torch.Generator) -> None:
        """Plant the fault."""
        n, train = self.scenario.images, self.train_set
        match self.scenario.fault:
            case "labels shuffled":
                self.train_set = Images(train.pixels, train.labels[torch.randperm(len(train), generator=rng)])
            case "images blanked":
                self.train_set = Images(torch.zeros_like(train.pixels), train.labels)
                self.minival = Images(torch.zeros_like(self.minival.pixels), self.minival.labels)
            case "shards sorted":
                order = train.labels[:n].argsort(stable=True)
                self.train_set = Images(train.pixels[:n][order], train.labels[:n][order])
            case "held-out images leaked":
                self.minival.pixels[: int(LEAKED * MINIVAL)] = train.pixels[: int(LEAKED * MINIVAL)]
                self.minival.labels[: int(LEAKED * MINIVAL)] = train.labels[: int(LEAKED * MINIVAL)]
            case "held-out classes reordered":
                self.minival = Images(self.minival.pixels, (self.minival.labels + 1) % self.scenario.classes)

    def changes(self, settings: Settings) -> tuple[Change, ...]:
        """One change of each kind."""
        return offered(settings, relabel=self.scenario.relabel)

    def cost(self, trial: Trial) -> float:
        """In 1e9 multiply-adds of the forward pass, which stand for a GPU-hour."""
        one = self.fit_of(trial)
        return one.steps * BATCH * one.width * (PIXELS + one.classes) / 1e9

    def train(self, trials: Sequence[Trial], done: Callable[[Trial, Reading], None]) -> None:
        """Train what was not trained yet, all at once."""
        train_together([(self, trial) for trial in trials])
        for trial in trials:
            done(trial, self._reading(trial))

    def look(self, trial: Trial) -> Rate:
        """On the validation set."""
        return wrong(self.fitted[trial.model_dump_json()], self.val)

    def truth(self, trial: Trial) -> float:
        """The error on images that no verdict ever sees."""
        return wrong(self.fitted[trial.model_dump_json()], self.hidden).share

    def checks(self) -> tuple[Check, ...]:
        """As the preflight of a real recipe: one batch by heart, with its images and with blanks; a short training."""
        recipe = self.fit_of(Trial(settings=self.scenario.settings, change=None, seed=0))
        train, chance = Images(recipe.pixels, recipe.labels), 1 - 1 / recipe.classes
        batch = train.part(0, ONE_BATCH)
        by_heart = replace(
            recipe,
            pixels=batch.pixels,
            labels=batch.labels,
            lr=ONE_BATCH_LR,
            weight_decay=0.0,
            steps=ONE_BATCH_STEPS,
        )
        blind = Rate(wrong=ONE_BATCH - int(batch.labels.bincount().max()), of=ONE_BATCH)  # at best
        real, short = fit([by_heart, replace(recipe, steps=SHORT_STEPS)])
        known = {_digest(image) for image in train.pixels if image.any()}
        mix = [torch.bincount(part, minlength=recipe.classes).tolist() for part in train.labels.chunk(SHARDS)]
        return (
            checks.class_mix(mix),
            checks.leak(sum(_digest(image) in known for image in self.minival.pixels), MINIVAL),
            checks.initial_loss(short.initial_loss, recipe.classes),
            checks.one_batch(wrong(real, batch)),
            checks.blanked_images(wrong(real, batch), blind),
            checks.held_out_labels(
                wrong(short, train.part(0, LOOKED_AT)),
                wrong(short, self.minival.part(0, LOOKED_AT)),
                chance,
                SHORT_STEPS,
            ),
        )

    def fit_of(self, trial: Trial) -> Fit:
        """The training that a trial is."""
        change, recipe = trial.change or Change(name="none", kind="longer"), self.scenario
        settings = trial.settings | change.settings
        count = round(recipe.images * change.data)
        labels = (self.clean if change.clean_labels else self.train_set).labels
        return Fit(
            pixels=self.train_set.pixels[:count],
            labels=labels[:count],
            classes=recipe.classes,
            seed=10_000 * (1 + self.draw) + trial.seed,
            width=int(settings["width"]),
            lr=float(settings["lr"]),
            weight_decay=float(settings["weight_decay"]),
            steps=max(1, round(recipe.steps * trial.length * change.length * change.data)),
            shuffled=recipe.fault != "shards sorted",
            loss_scale=LOSS_SCALE if recipe.fault == "loss scale too high" else 0.0,
        )

    def _reading(self, trial: Trial) -> Reading:
        fitted, one = self.fitted[trial.model_dump_json()], self.fit_of(trial)
        diverged = fitted.non_finite > one.steps // 10
        train = None if diverged else wrong(fitted, Images(one.pixels[:SLICE], one.labels[:SLICE]))
        minival = None if diverged else wrong(fitted, self.minival)
        percentiles = (
            torch.tensor(fitted.grad_norms).nan_to_num(0.0, 0.0).quantile(torch.tensor([0.5, 0.9, 0.99]))
        )
        return Reading(
            state="diverged" if diverged else "done",
            classes=one.classes,
            train_samples=len(one.labels),
            train=train,
            minival=minival,
            initial_loss=fitted.initial_loss,
            curve=()
            if train is None or minival is None
            else (Point(samples=one.steps * BATCH, train=train.share, minival=minival.share),),
            grad_norms=(percentiles[0].item(), percentiles[1].item(), percentiles[2].item()),
            update_ratio=fitted.update_ratio,
            non_finite=fitted.non_finite,
            steps=one.steps,
            input_wait=self.scenario.wait,
            images_per_second=None,
            gpu_hours=self.cost(trial),
        )


def train_together(asked: Sequence[tuple[MadeWorld, Trial]]) -> None:
    """Train for several worlds at once what none of them has trained yet: it is faster, and nothing else."""
    new = {(id(world), trial.model_dump_json()): (world, trial) for world, trial in asked}
    new = {key: pair for key, pair in new.items() if key[1] not in pair[0].fitted}
    for (_, name), (world, _), fitted in zip(
        new, new.values(), fit([world.fit_of(trial) for world, trial in new.values()]), strict=True
    ):
        world.fitted[name] = fitted


def offered(settings: Settings, *, relabel: bool) -> tuple[Change, ...]:
    """One change of each kind; shares of the data keep the number of steps."""
    width, lr, decay = int(settings["width"]), float(settings["lr"]), float(settings["weight_decay"])
    changes = (
        Change(name="twice the width", kind="capacity_up", settings={"width": 2 * width}),
        Change(
            name="weight decay x 10", kind="regularize_up", settings={"weight_decay": DECAY_NOTCH * decay}
        ),
        Change(
            name="weight decay / 10", kind="regularize_down", settings={"weight_decay": decay / DECAY_NOTCH}
        ),
        Change(name="learning rate x 3", kind="lr_up", settings={"lr": LR_NOTCH * lr}),
        Change(name="learning rate / 3", kind="lr_down", settings={"lr": lr / LR_NOTCH}),
        Change(name="twice the steps", kind="longer", length=2.0),
        Change(name="half the images", kind="half_data", data=0.5, length=2.0),
        Change(name="a quarter of the images", kind="quarter_data", data=0.25, length=4.0),
        Change(name="clean labels", kind="clean_labels", clean_labels=True),
    )
    return changes if relabel else changes[:-1]


def wrong(fitted: Fitted, images: Images) -> Rate:
    """Its errors on these images."""
    return Rate(wrong=int((fitted.answers(images.pixels) != images.labels).sum()), of=len(images))


def _digest(image: Tensor) -> bytes:
    return hashlib.sha256(image.numpy().tobytes()).digest()
