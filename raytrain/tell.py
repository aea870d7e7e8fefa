"""Words for people: a plan as a page, sizes, schedules. Pure functions, tested against goldens."""

from textwrap import wrap
from typing import NamedTuple

from raytrain.groups import layer_buckets, layer_count
from raytrain.plan import RunPlan
from raytrain.recipe import Execution, Recipe

NAME, VALUE, WIDTH = 18, 30, 118
"""Columns of a page: a name, a value, and the rule behind it, which goes on below itself."""


class Row(NamedTuple):
    """A line of a page; `rule` is the path in `RunPlan.because` of the rule behind it, or "" for what was given."""

    name: str
    value: str
    rule: str = ""


Section = tuple[str, list[Row]]


def plan_text(plan: RunPlan) -> str:
    """The plan as a page: a line per number with its value and the rule it came from, by section."""
    recipe = plan.recipe
    lines = [f"{recipe.name}: {recipe.summary}", f"  source: {recipe.source}", f"  plan:   {plan.hash}"]
    for title, rows in sections(plan):
        lines += ["", title]
        for row in rows:
            lines += row_lines(row, plan.because.get(row.rule, ""))
    return "\n".join(lines)


def row_lines(row: Row, why: str) -> list[str]:
    """A row as lines of at most WIDTH characters, where its value and rule have words to break at."""
    margin = 2 + NAME + VALUE
    first = f"  {row.name:<{NAME}}{row.value:<{VALUE}}"
    if not why:
        return [first.rstrip()]
    rest = wrap(why, WIDTH - margin, break_long_words=False, break_on_hyphens=False)
    if len(row.value) >= VALUE:
        return [first.rstrip(), *(" " * margin + line for line in rest)]
    return [first + rest[0], *(" " * margin + line for line in rest[1:])]


def sections(plan: RunPlan) -> list[Section]:
    """The page's sections, in order."""
    return [
        ("what", _what(plan)),
        ("data", _data(plan)),
        ("batch and steps", _steps(plan)),
        ("optimization", _optimization(plan)),
        ("memory of a worker", _memory(plan)),
        ("time and money", _time(plan)),
        ("S3, an epoch", _traffic(plan)),
    ]


def _what(plan: RunPlan) -> list[Row]:
    recipe, placement, estimates = plan.recipe, plan.placement, plan.estimates
    start = []
    if plan.init is not None:
        start.append(Row("start from", f"{plan.init.checkpoint} ({plan.init.digest[:12]})"))
        if plan.init.class_list:
            start.append(Row("its classes", f"{plan.init.class_list} ({plan.init.class_digest[:12]})"))
    each = "1 GPU" if placement.gpu else f"{placement.cpus_per_worker} CPU"
    return [
        *start,
        Row(
            "model",
            f"{recipe.model.family}, {estimates.parameters / 1e6:.2f} M parameters",
            "estimates.parameters",
        ),
        Row("forward", f"{estimates.forward_gmacs:.4g} GMAC/image", "estimates.forward_gmacs"),
        *(
            [Row("training", f"{estimates.train_gflops:.4g} GFLOP/image", "estimates.train_gflops")]
            if estimates.train_gflops is not None
            else []
        ),
        *_teacher(plan),
        Row("fleet", f"{placement.fleet}: {placement.workers} x {each}"),
        Row(
            "engine",
            f"{placement.engine}, ZeRO {placement.zero_stage}, {recipe.precision}",
            "placement.zero_stage",
        ),
        *_computed(recipe),
    ]


def _teacher(plan: RunPlan) -> list[Row]:
    if plan.teacher is None:
        return []
    how = plan.recipe.distillation
    soft = f" at temperature {how.temperature:g}" if how.kind == "soft" else ""
    return [
        Row("teacher", f"{plan.teacher.checkpoint} ({plan.teacher.digest[:12]})"),
        Row("distillation", f"{how.kind}{soft}, {how.alpha:g} of the loss"),
    ]


def _computed(recipe: Recipe) -> list[Row]:
    """How, where it is not as usual."""
    execution = recipe.execution
    if execution == Execution():
        return []
    words = ["channels last" if execution.channels_last else "channels first"]
    words += ["activations recomputed"] if execution.checkpointing else []
    words += ["compiled"] if execution.compile else []
    return [Row("computed", ", ".join(words))]


def _data(plan: RunPlan) -> list[Row]:
    recipe = plan.recipe
    return [
        Row("set", plan.data.name),
        Row("fingerprint", plan.data.fingerprint[:12]),
        Row(
            "images",
            f"{plan.data.train_samples:,} train, {plan.data.eval_samples:,} held out",
            "data.train_samples",
        ),
        *(Row("", line) for line in mix_lines(plan)),
        *(
            [Row("", f"{plan.data.train_slice:,} of them evaluated too", "data.train_slice")]
            if plan.data.train_slice
            else []
        ),
        Row("classes", f"{plan.data.classes:,}"),
        Row("image size", f"{recipe.view.image_size} px"),
        *_progressive(plan),
    ]


def _progressive(plan: RunPlan) -> list[Row]:
    sizes, last = plan.lengths.sizes, plan.recipe.view.image_size
    if not sizes:
        return []
    stages = ", ".join(f"{side} px to step {step}" for step, side in sizes)
    then = "evaluated at" if sizes[-1][0] == plan.lengths.steps else "then"
    return [Row("progressive", f"{stages}, {then} {last} px", "lengths.sizes")]


def _steps(plan: RunPlan) -> list[Row]:
    recipe, placement, lengths, larger = plan.recipe, plan.placement, plan.lengths, plan.estimates.larger
    rows = [
        Row("global batch", f"{recipe.global_batch:,}"),
        Row("micro-batch", f"{placement.micro_batch:,}", "placement.micro_batch"),
        Row("accumulation", f"{placement.accumulation:,}", "placement.accumulation"),
    ]
    if larger is not None:
        need = f"{larger.micro_batch:,} would need {larger.worker_gib:.2f} GiB"
        rows.append(Row("does not fit", need, "estimates.larger.worker_gib"))
    if (repeats := recipe.regularization.repeats) > 1:
        rows.append(Row("repeats", f"{recipe.samples_per_step} samples a batch, each {repeats} times"))
    return [
        *rows,
        Row("steps per epoch", f"{lengths.steps_per_epoch:,}", "lengths.steps_per_epoch"),
        Row("steps", f"{lengths.steps:,}", "lengths.steps"),
        Row("warm-up", f"{lengths.warmup_steps:,} steps", "lengths.warmup_steps"),
        Row("evaluation", f"every {lengths.evaluate_every:,} steps", "lengths.evaluate_every"),
        Row("checkpoint", f"every {lengths.checkpoint_every:,} steps", "lengths.checkpoint_every"),
        *_advised(plan),
    ]


def _advised(plan: RunPlan) -> list[Row]:
    minutes, steps = plan.estimates.checkpoint_minutes, plan.estimates.checkpoint_steps
    if minutes is None:
        return []
    told = f" = {steps:,} steps" if steps is not None else ""
    return [Row("advised", f"every {minutes:,.0f} min{told}", "estimates.checkpoint_minutes")]


def _optimization(plan: RunPlan) -> list[Row]:
    recipe, moving = plan.recipe, plan.recipe.regularization
    drops = "lengths.lr_drop_every" if plan.lengths.lr_drop_every else ""
    rows = [
        Row("learning rate", f"{plan.lr:.4g}", "lr"),
        Row("schedule", schedule_text(plan), drops),
        Row("optimizer", optimizer_text(recipe)),
        Row(
            "regularization",
            f"drop path {recipe.model.drop_path:g}, smoothing {moving.label_smoothing:g}, "
            f"mixup {moving.mixup:g}, cutmix {moving.cutmix:g}, erasing {moving.random_erasing:g}",
        ),
    ]
    if recipe.ema_decay is not None:
        rows.append(Row("weight average", f"EMA, decay {recipe.ema_decay:g}, whole on every worker"))
    return rows


MEMORY = {
    "weights": "weights",
    "gradients": "gradients",
    "reduction": "gradient buckets",
    "optimizer": "optimizer",
    "average": "weight average",
    "autocast": "weights in bf16",
    "teacher": "teacher",
    "activations": "activations",
}
"""The parts of a worker's memory, in the words of the page. Those that are nothing are left out."""


def _memory(plan: RunPlan) -> list[Row]:
    estimates = plan.estimates
    parts = [] if estimates.memory is None else estimates.memory.model_dump().items()
    total = estimates.worker_gib * 2**30
    return [
        *(
            Row(MEMORY[part], _memory_size(held, total), f"estimates.memory.{part}")
            for part, held in parts
            if held
        ),
        Row("in all", _memory_size(total, total), "estimates.worker_gib"),
        Row("checkpoint", size(estimates.checkpoint_bytes), "estimates.checkpoint_bytes"),
    ]


def _memory_size(count: float, total: float) -> str:
    """In the unit of the total, one below another."""
    return f"{count / 2**30:7.2f} GiB" if total >= 2**30 else f"{count / 2**20:7.1f} MiB"


def _time(plan: RunPlan) -> list[Row]:
    estimates = plan.estimates
    assumed = " (assumed MFU)" if plan.because.get("estimates.mfu", "").startswith("ASSUMED") else ""
    hour = "GPU-hours" if plan.placement.gpu else "worker-hours"
    told = {
        "mfu": ("share of peak", None if estimates.mfu is None else f"{estimates.mfu:.1%} (MFU)"),
        "tflops": ("each worker", _maybe(estimates.tflops, "{:.4g} TFLOP/s")),
        "images_per_second": ("speed", _maybe(estimates.images_per_second, "{:,.0f} images/s")),
        "hours": ("time", _maybe(estimates.hours, "{:,.1f} h" + assumed)),
        "worker_hours": (hour, _maybe(estimates.worker_hours, "{:,.0f}" + assumed)),
        "cost": ("cost", _maybe(estimates.cost, "{:,.0f}" + assumed)),
    }
    if estimates.hours is None:
        told = {name: told[name] for name in ("hours", "cost")}
    return [Row(name, value or "-", f"estimates.{path}") for path, (name, value) in told.items()]


def _maybe(number: float | None, form: str) -> str | None:
    return None if number is None else form.format(number)


def _traffic(plan: RunPlan) -> list[Row]:
    traffic = plan.estimates.traffic
    if traffic is None:
        return [Row("bytes", "-")]
    if not traffic.gets:
        return [Row("bytes", "0", "estimates.traffic.bytes")]
    return [
        Row("the set", size(traffic.set_bytes), "estimates.traffic.set_bytes"),
        Row("bytes", size(traffic.bytes), "estimates.traffic.bytes"),
        Row("requests", f"{traffic.gets:,} GETs", "estimates.traffic.gets"),
        Row(
            "of a node",
            f"{size(traffic.node_bytes)}, {traffic.node_gets:,} GETs",
            "estimates.traffic.node_bytes",
        ),
    ]


def mix_lines(plan: RunPlan) -> list[str]:
    """Of a mix a line per set: its share of the turns, and how often its images come in an epoch of the mix."""
    turns = sum(part.turns for part in plan.data.sets)
    return [
        f"{part.name}/{part.split}: {part.turns / turns:.1%} of the images drawn; its {part.samples:,} come "
        f"{plan.data.train_samples * part.turns / turns / part.samples:.3g} x an epoch"
        for part in plan.data.sets
    ]


def optimizer_text(recipe: Recipe) -> str:
    """Its name and what decays."""
    optimizer = recipe.optimizer
    words = [optimizer.name, f"weight decay {optimizer.weight_decay:g}"]
    if optimizer.layer_decay != 1:
        buckets = layer_buckets(layer_count(recipe.model), optimizer.layer_buckets)
        words.append(f"layer decay {optimizer.layer_decay:g} in {len(buckets)} buckets")
    return ", ".join(words)


def schedule_text(plan: RunPlan) -> str:
    """What the learning rate does after the warm-up."""
    schedule = plan.recipe.schedule
    match schedule.shape:
        case "constant":
            return "constant"
        case "step":
            return f"x {schedule.step_factor:g} every {plan.lengths.lr_drop_every} steps"
    return f"{schedule.shape} to x {schedule.end:g}"


def size(count: float) -> str:
    """Bytes for people: 1.5 MB (powers of ten)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
