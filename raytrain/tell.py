"""Words for people: a plan as text, sizes, durations, percentages. Pure functions, tested against goldens."""

from raytrain.groups import layer_buckets, layer_count
from raytrain.plan import RunPlan
from raytrain.recipe import Execution, Recipe


def plan_text(plan: RunPlan) -> str:
    """The plan, one line per number: name, value, and the rule it came from."""
    recipe, lengths, placement, estimates = plan.recipe, plan.lengths, plan.placement, plan.estimates
    moving = recipe.regularization
    rows = [
        (
            "model",
            f"{recipe.model.family}, {estimates.parameters / 1e6:.2f} M parameters",
            "estimates.parameters",
        ),
        ("compute", f"{estimates.forward_gmacs:.4g} GMAC/image", "estimates.forward_gmacs"),
        (
            "images",
            f"{plan.data.train_samples} train, {plan.data.eval_samples} held out",
            "data.train_samples",
        ),
        *(("", line, "") for line in mix_lines(plan)),
        *slice_rows(plan),
        ("classes", f"{plan.data.classes}, data {plan.data.name} {plan.data.fingerprint[:12]}", ""),
        ("image size", f"{recipe.view.image_size} px", ""),
        (
            "workers",
            f"{placement.workers} x {'1 GPU' if placement.gpu else f'{placement.cpus_per_worker} CPU'}",
            "",
        ),
        ("engine", f"{placement.engine}, ZeRO {placement.zero_stage}, {recipe.precision}", ""),
        ("global batch", f"{recipe.global_batch}", ""),
        ("micro-batch", f"{placement.micro_batch}", "placement.micro_batch"),
        ("accumulation", f"{placement.accumulation}", "placement.accumulation"),
        ("steps per epoch", f"{lengths.steps_per_epoch}", "lengths.steps_per_epoch"),
        ("steps", f"{lengths.steps}", "lengths.steps"),
        ("warm-up", f"{lengths.warmup_steps} steps", "lengths.warmup_steps"),
        ("evaluation", f"every {lengths.evaluate_every} steps", "lengths.evaluate_every"),
        ("checkpoint", f"every {lengths.checkpoint_every} steps", "lengths.checkpoint_every"),
        ("learning rate", f"{plan.lr:.4g}", "lr"),
        ("schedule", schedule_text(plan), "lengths.lr_drop_every" if lengths.lr_drop_every else ""),
        ("optimizer", optimizer_text(recipe), ""),
        (
            "regularization",
            f"drop path {recipe.model.drop_path:g}, smoothing {moving.label_smoothing:g}, "
            f"mixup {moving.mixup:g}, cutmix {moving.cutmix:g}, erasing {moving.random_erasing:g}",
            "",
        ),
        *extra_rows(plan),
        ("checkpoint size", size(estimates.checkpoint_bytes), "estimates.checkpoint_bytes"),
        ("memory per worker", f"{estimates.worker_gib:.2f} GiB", "estimates.worker_gib"),
        ("time", "-" if estimates.hours is None else f"{estimates.hours:.1f} h", "estimates.hours"),
        ("cost", "-" if estimates.cost is None else f"{estimates.cost:.0f}", "estimates.cost"),
    ]
    if plan.init is not None:
        rows.insert(0, ("start from", f"{plan.init.checkpoint} ({plan.init.digest[:12]})", ""))
    if plan.init is not None and plan.init.class_list:
        rows.insert(1, ("its classes", f"{plan.init.class_list} ({plan.init.class_digest[:12]})", ""))
    lines = [f"{recipe.name}: {recipe.summary}", f"  source: {recipe.source}", f"  plan:   {plan.hash}"]
    for name, value, rule in rows:
        why = plan.because.get(rule, "")
        lines.append(f"  {name:<18}{value:<34}{'  ' + why if why else ''}".rstrip())
    return "\n".join(lines)


def slice_rows(plan: RunPlan) -> list[tuple[str, str, str]]:
    """The training images that are evaluated too, where there are any."""
    images = plan.data.train_slice
    return [("", f"{images} of them evaluated too", "data.train_slice")] if images else []


def extra_rows(plan: RunPlan) -> list[tuple[str, str, str]]:
    """What only some recipes have."""
    recipe, rows = plan.recipe, []
    if plan.lengths.sizes:
        stages = ", ".join(f"{side} px to step {step}" for step, side in plan.lengths.sizes)
        to_the_end = plan.lengths.sizes[-1][0] == plan.lengths.steps
        then = "evaluated at" if to_the_end else "then"
        rows.append(("progressive", f"{stages}, {then} {recipe.view.image_size} px", "lengths.sizes"))
    if (repeats := recipe.regularization.repeats) > 1:
        distinct = f"{recipe.samples_per_step} samples a batch, each {repeats} times"
        rows.append(("repeats", distinct, ""))
    if plan.teacher is not None:
        how = recipe.distillation
        soft = f" at temperature {how.temperature:g}" if how.kind == "soft" else ""
        rows.append(("teacher", f"{plan.teacher.checkpoint} ({plan.teacher.digest[:12]})", ""))
        rows.append(("distillation", f"{how.kind}{soft}, {how.alpha:g} of the loss", ""))
    if recipe.ema_decay is not None:
        rows.append(("weight average", f"EMA, decay {recipe.ema_decay:g}, whole on every worker", ""))
    execution = recipe.execution
    if execution != Execution():
        layout = "channels last" if execution.channels_last else "channels first"
        words = [
            layout,
            *(["activations recomputed"] if execution.checkpointing else []),
            *(["compiled"] if execution.compile else []),
        ]
        rows.append(("computed", ", ".join(words), ""))
    return rows


def mix_lines(plan: RunPlan) -> list[str]:
    """Of a mix a line per set: its share of the turns, and how often its images come in an epoch of the mix."""
    turns = sum(part.turns for part in plan.data.sets)
    return [
        f"{part.name}/{part.split}: {part.turns / turns:.1%} of the images drawn; its {part.samples} come "
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
