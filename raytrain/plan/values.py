"""RunPlan and its parts: one run with every number resolved, as values that travel as JSON.

The plan is printed, hashed, stored as `<run>/plan.json` and handed to the workers, who take no number from anywhere
else. What came after the first runs has a default, so that their plans are still read.
"""

import hashlib
import json
from functools import cached_property
from typing import Any, Literal

from pydantic import Field

from data_shards.shardset import Value
from data_shards.traffic import Traffic
from raytrain.models.arithmetic import parameters
from raytrain.models.spec import ModelSpec
from raytrain.plan.facts import DataFacts
from raytrain.recipe import Recipe

EngineName = Literal["deepspeed", "torch"]
Stage = Literal[0, 1, 2, 3]
"""Of DeepSpeed's ZeRO."""


class Init(Value):
    """The checkpoint a fine-tune starts from, and the digest of its manifest.

    `source` is what was asked for: a checkpoint, or a run, whose newest checkpoint it was at the first start; or a
    file of weights. A file has no card: its digest is its sha256, and the classes of its head's rows are `class_list`
    (a known list, a text file or a shard set), with the digest of what that list was.
    """

    source: str
    checkpoint: str
    digest: str
    class_list: str = Field("", exclude_if=lambda name: not name)
    class_digest: str = Field("", exclude_if=lambda name: not name)


class Teacher(Value):
    """The checkpoint of ours that a run is distilled from, as in Init, and what it is."""

    source: str
    checkpoint: str
    digest: str
    model: ModelSpec
    classes: int
    image_size: int

    @property
    def bytes(self) -> int:
        """Its weights in fp32."""
        return 4 * parameters(self.model, self.classes, self.image_size)


class Placement(Value):
    """How the work lies on the machines. It may change when a run is continued; the identity may not.

    With `micro_batch_auto` the micro-batch is a first guess, and the workers find theirs (raytrain/microbatch.py).
    """

    fleet: str
    workers: int
    gpu: bool
    cpus_per_worker: int
    loader_processes: int
    strategy: str
    micro_batch: int
    micro_batch_auto: bool = False
    accumulation: int
    engine: EngineName
    zero_stage: Stage


class Lengths(Value):
    """Durations in optimizer steps. `lr_drop_every` is the step schedule's, None for the other shapes.

    `sizes`: (step, image size) of the progressive stages; the steps before the step have that size.
    """

    steps_per_epoch: int
    steps: int
    warmup_steps: int
    lr_drop_every: int | None = None
    evaluate_every: int
    checkpoint_every: int
    sizes: tuple[tuple[int, int], ...] = ()


class Memory(Value):
    """Bytes that one worker holds when they are most, at the start of a backward pass (raytrain/plan/memory.py)."""

    weights: int
    gradients: int
    reduction: int
    optimizer: int
    average: int
    autocast: int
    teacher: int
    activations: int

    @property
    def total(self) -> int:
        """The sum of all parts."""
        return sum(self.model_dump().values())


class Larger(Value):
    """The next larger micro-batch, and what a worker would need for it: GiB."""

    micro_batch: int
    worker_gib: float


class Estimates(Value):
    """What the run will need: bytes, GiB, FLOPs, hours, money. None where the fleet says too little to tell.

    `train_gflops` are of one image in training, at the view's size. `tflops` is what a worker sustains and `mfu` that
    over its peak: measured or assumed, as `RunPlan.because` says. `images_per_second` are of
    all workers. `checkpoint_minutes` and `checkpoint_steps` are those between checkpoints that
    raytrain/plan/interval.py advises; how often there is one, the recipe says.
    """

    parameters: int
    forward_gmacs: float
    train_gflops: float | None = None
    checkpoint_bytes: int
    checkpoint_minutes: float | None = None
    checkpoint_steps: int | None = None
    worker_gib: float
    memory: Memory | None = None
    larger: Larger | None = None
    tflops: float | None = None
    mfu: float | None = None
    images_per_second: float | None = None
    hours: float | None
    worker_hours: float | None = None
    cost: float | None
    traffic: Traffic | None = None


class RunPlan(Value):
    """One run with every number resolved. `because[path]` is the rule behind the number at that path."""

    recipe: Recipe
    data: DataFacts
    init: Init | None
    teacher: Teacher | None = None
    lr: float
    lengths: Lengths
    placement: Placement
    estimates: Estimates
    because: dict[str, str]

    @property
    def identity(self) -> dict[str, Any]:
        """What makes this the same run on any machines: recipe (but for how it is computed), data, start, lengths.

        What the recipe was made for says nothing of a run, which has its data.
        """
        tree = self.model_dump(mode="json", include={"recipe", "data", "init", "teacher", "lr", "lengths"})
        del tree["recipe"]["execution"], tree["recipe"]["made_for"]
        return tree

    @cached_property
    def hash(self) -> str:
        """The first 16 hex digits of the sha256 of the identity's canonical JSON."""
        canonical = json.dumps(self.identity, sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]
