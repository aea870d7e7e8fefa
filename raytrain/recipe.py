"""Recipe: what we want. Model, data view, optimizer, schedule, regularization, length, evaluation.

A Recipe never speaks of a per-GPU batch, a GPU name or a path: those belong to the Fleet and the RunPlan.
Recipes are functions in `raytrain/recipes/`; `--set path=value` changes a field by its dotted path.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, FiniteFloat, PositiveInt, model_validator

from data_shards.shardset import Value
from data_shards.view import View
from raytrain.models.spec import ModelSpec, Probability

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveFloat = Annotated[FiniteFloat, Field(gt=0)]
NonNegativeFloat = Annotated[FiniteFloat, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # every generator it is given to takes that many
MadeFor = Literal["imagenet-22k", "imagenet-1k", "synthetic-22k", "synthetic-1k"]


class Optimizer(Value):
    """AdamW or SGD. The learning rate used is `lr * global_batch / lr_batch` (the Swin repository's rule, main.py).

    Weight decay spares 1-D parameters, biases and Swin's bias tables (microsoft/Swin-Transformer optimizer.py)
    unless `decay_all` (the CBAM repository decays everything). `layer_decay` is the factor on the learning rate per
    layer towards the input, in `layer_buckets` runs of layers (raytrain/groups.py); 1 for none.
    """

    name: Literal["adamw", "sgd"] = "adamw"
    lr: PositiveFloat = 5e-4
    lr_batch: PositiveInt = 512
    weight_decay: NonNegativeFloat = 0.05
    decay_all: bool = False
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    layer_buckets: Annotated[int, Field(ge=2)] = 7
    betas: tuple[Probability, Probability] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    momentum: Fraction = 0.9
    clip_norm: PositiveFloat | None = 5.0


class Schedule(Value):
    """A linear warm-up from `warmup_start * lr`, then a shape; resolved to optimizer steps (raytrain/schedule.py).

    `cosine` and `linear` go down to `end * lr`; `step` multiplies by `step_factor` every `step_epochs`, counted from
    the start of training; `constant` stays. What belongs to another shape is not looked at.
    """

    shape: Literal["cosine", "linear", "step", "constant"] = "cosine"
    warmup_epochs: NonNegativeFloat = 5.0
    warmup_start: Fraction = 1e-3
    end: Fraction = 1e-2
    step_epochs: PositiveFloat = 30.0
    step_factor: Fraction = 0.1


class Regularization(Value):
    """What is put in the way of memorizing. `mixup` and `cutmix` are Beta parameters, 0 for off.

    With both on, each pair of images draws one of them with equal chance (timm's `switch_prob` 0.5).
    `repeats`: how often each sample is in its batch, in other crops and draws (repeated augmentation, Hoffer et al.
    2020; 3 in facebookresearch/deit samplers.py). Batches, epochs and steps count images, so a pass over the data
    takes `repeats` epochs. Unlike there the repeats are on one rank, in one micro-batch.
    """

    label_smoothing: Fraction = 0.1
    mixup: NonNegativeFloat = 0.8
    cutmix: NonNegativeFloat = 1.0
    random_erasing: Fraction = 0.0
    repeats: PositiveInt = 1

    @property
    def paired(self) -> bool:
        """Whether images are mixed in pairs, so that micro-batches must be even."""
        return self.mixup > 0 or self.cutmix > 0

    @property
    def unit(self) -> int:
        """What a micro-batch must be a multiple of: the images of a pair, each so often."""
        return self.repeats * (2 if self.paired else 1)


class Distillation(Value):
    """How a teacher's answers enter the loss, where a run has one (`--teacher`): alpha of them, the rest of the labels.

    `hard` takes the teacher's first answer for the label, `soft` its probabilities at `temperature`. The defaults are
    those of facebookresearch/deit main.py, but for its `none`.
    """

    kind: Literal["hard", "soft"] = "hard"
    alpha: Fraction = 0.5
    temperature: PositiveFloat = 1.0


class Stage(Value):
    """Training images of `image_size` until the end of epoch `until`."""

    until: PositiveFloat
    image_size: PositiveInt


class Execution(Value):
    """How the network is computed (raytrain/execution.py): no part of what is computed, so a run may change it.

    `checkpointing` keeps only the inputs of residual blocks and computes them twice: less memory, about a third more
    time. `channels_last` is the layout of images, and in the plain engine of weights: activations follow.
    `compile` is torch.compile of the whole network: its first steps take minutes, its sums differ in the last bits.
    """

    checkpointing: bool = False
    channels_last: bool = True
    compile: bool = False

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.checkpointing and self.compile:
            raise ValueError(
                "checkpointing and compile are not done together: one of them has to be false "
                "(a compiled network decides itself what to compute again)"
            )
        return self


class Published(Value):
    """The figure a recipe is held against: top-1 accuracy in percent, and where it is printed."""

    row: str
    top1: float
    source: str


class Recipe(Value):
    """One training run, complete but for the machines and the data's place.

    `ema_decay`: how much of a running average of the weights is kept at each step; ConvNeXt has 0.9999
    (facebookresearch/ConvNeXt main.py, model_ema_decay). None for no average (raytrain/ema.py).
    `progressive`: stages of other image sizes, one after the other, before that of the view (progressive resizing), or
    to the last epoch in its place (the "FixRes" of torchvision's recipe); evaluation has the view's throughout.
    `made_for`: the data whose numbers a plan assumes where it is given none (raytrain/recipes/assumed.py).
    `train_fraction`: train on the first of the split's shards alone, about that share of them (whole shards, at least
    one); epochs are passes over what is left. Packing shuffled the images over the shards, so it is a random draw.
    `train_slice`: so many of the training images, the first ones, are evaluated too wherever the held-out ones are, in
    the same way: with drop path and mixing the training loss says nothing about them.
    """

    name: str
    summary: str
    source: str
    made_for: MadeFor = "imagenet-1k"
    model: ModelSpec
    view: View = View()
    progressive: tuple[Stage, ...] = ()
    train_split: str = "train"
    train_fraction: float = Field(1.0, gt=0, le=1, exclude_if=lambda share: share == 1)
    train_slice: int = Field(0, ge=0, exclude_if=lambda images: images == 0)
    eval_split: str = "val"
    epochs: PositiveFloat
    global_batch: PositiveInt
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    regularization: Regularization = Regularization()
    distillation: Distillation = Distillation()
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    precision: Literal["bf16", "fp32"] = "bf16"
    execution: Execution = Execution()
    evaluate_epochs: PositiveFloat = 1.0
    checkpoint_epochs: PositiveFloat = 1.0
    seed: Seed = 0
    published: Published | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        ends = [stage.until for stage in self.progressive]
        if ends != sorted(set(ends)) or (ends and ends[-1] > self.epochs):
            raise ValueError(
                f"the stages of progressive end at {', '.join(f'{end:g}' for end in ends)}: write them in order of "
                f"`until`, none after epochs {self.epochs:g}"
            )
        if ends and self.model.family == "vit":
            raise ValueError(
                f"progressive: a ViT's positions are learned for {self.view.image_size} px alone"
            )
        return self

    @property
    def largest_image(self) -> int:
        """The side of the largest training image, in pixels."""
        sizes = [stage.image_size for stage in self.progressive]
        replaced = self.progressive and self.progressive[-1].until == self.epochs
        return max(sizes if replaced else [*sizes, self.view.image_size])

    @property
    def samples_per_step(self) -> int:
        """Different samples in a global batch: the slots of the data's order that a step takes."""
        return self.global_batch // self.regularization.repeats
