"""1 to 1,024 simulated workers on ImageNet-22K: the plan, a worker's way to its first sample, and what a run writes."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conditions import spread, table, tell
from order import fresh

if TYPE_CHECKING:
    from data_shards.ledger import Row
    from data_shards.order import Order
    from raytrain.plan import RunPlan

WORKERS = (1, 8, 64, 256, 1_024)
SHARDS, PER_SHARD, CLASSES = 14_200, 1_000, 21_841
RECIPE = "swin_b_22k_224"
REPEATS, STEPS, CHECKPOINTS = 5, 100, 100
"""Of each timing; steps that a row of the ledger covers; checkpoints in the folder that is searched."""

PLAN = """
import json, re, sys, time
from pathlib import Path
url, fleet, recipe, out = sys.argv[1:]
began = time.perf_counter()
from raytrain.cli.options import make_plan
from data_shards.mix import load_data
imported = time.perf_counter()
load_data(url)
loaded = time.perf_counter()
plan = make_plan(recipe, url, fleet=fleet, workers=None, settings=None, init=None, engine="deepspeed", zero=1)
planned = time.perf_counter()
Path(out).write_text(plan.model_dump_json())
kib = re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]
print(json.dumps({"manifest_s": loaded - imported, "plan_s": planned - loaded, "process_mib": int(kib) / 1024}))
"""


def measure(scratch: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Plans and resumes in fresh processes; what ranks and their run write, in this one."""
    from raytrain.plan import RunPlan

    shards = write_manifest(scratch / "set")
    raw: dict[str, list[dict[str, float]]] = {str(workers): [] for workers in WORKERS}
    for turn in range(-1, REPEATS):
        for workers in WORKERS:
            told = planned(shards, workers, scratch / f"{workers}.json")
            told |= {f"worker_{key}": value for key, value in fresh(shards, workers).items()}
            if turn >= 0:
                raw[str(workers)].append(told)
        say(f"plans and resumes: round {turn + 1} of {REPEATS}")
    files = {}
    for workers in WORKERS:
        plan = RunPlan.model_validate_json((scratch / f"{workers}.json").read_text())
        files[str(workers)] = written(plan, scratch / f"run-{workers}")
        say(f"{workers} workers: files")
    lookups = [looked_up(scratch / "run-1") for _ in range(REPEATS)]
    return {
        "settings": {"recipe": RECIPE, "repeats": REPEATS, "steps": STEPS, "checkpoints": CHECKPOINTS},
        "raw": {"starts": raw, "lookups": lookups},
        "medians": {
            "starts": {
                workers: {key: spread([row[key] for row in rows]) for key in rows[0]}
                for workers, rows in raw.items()
            },
            "files": files,
            "data_manifest_bytes": (shards / "shardset.json").stat().st_size,
            "lookup": spread(lookups),
        },
    }


def write_manifest(folder: Path) -> Path:
    """A shard set that is only its manifest, with a validation split and all classes; returns its folder."""
    from data_shards.shardset import Packing, Shard, ShardSet, Split

    def split(name: str, shards: int, samples: int) -> Split:
        digest = "{:064x}".format
        rows = tuple(
            Shard(name=f"{name}-{n:05d}", samples=samples, bytes=samples * 112_000, sha256=digest(n),
                  index_sha256=digest(n))
            for n in range(shards)
        )  # fmt: skip
        each, rest = divmod(shards * samples, CLASSES)
        return Split(shards=rows, class_counts=tuple(each + (label < rest) for label in range(CLASSES)))

    folder.mkdir()
    made = ShardSet(
        name="in22k",
        classes=tuple(f"n{n:08d}" for n in range(CLASSES)),
        splits={"train": split("train", SHARDS, PER_SHARD), "val": split("val", 50, PER_SHARD)},
        packing=Packing(seed=0, samples_per_shard=PER_SHARD),
    )
    (folder / "shardset.json").write_text(made.model_dump_json(indent=1))
    return folder


def fleet(workers: int) -> str:
    """So many GPUs, eight on a node, as a command carries them along."""
    machines = {
        "nodes": max(1, workers // 8),
        "workers_per_node": min(8, workers),
        "gpu": True,
        "memory_gib": 80,
    }
    return json.dumps({"name": f"{workers} GPUs", **machines, "peak_tflops": 989})


def planned(shards: Path, workers: int, out: Path) -> dict[str, float]:
    """What a new process tells of the plan that it makes and writes."""
    command = [sys.executable, "-c", PLAN, str(shards), fleet(workers), RECIPE, str(out)]
    told: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return told | {"plan_bytes": out.stat().st_size}


def written(plan: "RunPlan", run: Path) -> dict[str, float]:
    """Bytes of what a run of so many workers writes, per step and per checkpoint; seconds for the ledger's row."""
    import torch

    from data_shards.order import Order
    from data_shards.store import open_store
    from raytrain import checkpoint
    from raytrain.engine import EngineState
    from raytrain.manifest import MANIFEST, key_of
    from raytrain.runlog import EVENTS, LEDGER, METRICS, RunLog
    from raytrain.state import TrainState

    run.mkdir()
    log, order, state = RunLog(run), Order([PER_SHARD] * SHARDS, seed=0), TrainState(step=STEPS)
    log.start(0)
    log.step(
        step=STEPS, epoch=0.123456789, samples=STEPS * plan.recipe.global_batch, loss=6.9123456789, lr=0.00098765,
        grad_norm=1.23456789, applied=True, seconds=0.123456789, wait_seconds=0.00123456, replaced=0,
        images=plan.recipe.global_batch,
    )  # fmt: skip
    row = delivered(order, plan.recipe.global_batch, plan.placement.workers, state)
    began = time.perf_counter()
    log.ledger(row)
    ledger_seconds = time.perf_counter() - began
    log.event("checkpoint", step=STEPS, seconds=0.123456789, behind=1.23456789)
    classes = tuple(f"n{n:08d}" for n in range(CLASSES))
    one = {"weight": torch.zeros(1)}
    tensors = EngineState(model=one, moments={"weight": {"exp_avg": torch.zeros(1)}}, applied=STEPS)
    for number in range(CHECKPOINTS if plan.placement.workers == 1 else 1):
        state.step = STEPS * (number + 1)
        checkpoint.save(open_store(str(run)), plan, classes, state, tensors, plan.placement.workers)
    log.close()
    folder = run / key_of(state.step)
    ledger_bytes, resume_seconds = whole_run(run, plan)
    return {
        "metrics_row_bytes": (run / METRICS).stat().st_size,
        "event_bytes": (run / EVENTS).stat().st_size,
        "ledger_row_bytes": len((run / LEDGER).read_bytes()),
        "ledger_row_seconds": ledger_seconds,
        "ledger_run_bytes": ledger_bytes,
        "resume_logs_seconds": resume_seconds,
        "manifest_bytes": (folder / MANIFEST).stat().st_size,
        "card_bytes": (folder / "card.json").stat().st_size,
        "state_bytes": (folder / "state.json").stat().st_size,
    }


def delivered(order: "Order", global_batch: int, workers: int, state: Any) -> "Row":
    """The ledger's row after STEPS steps in mid-epoch of which every rank had its share."""
    import numpy as np

    from data_shards.ledger import Row, Witness

    parts, first = [], 1_000 * global_batch
    for rank in range(workers):
        witness = Witness()
        for step in range(STEPS):
            slots = order.share(first + step * global_batch, global_batch, rank, workers)
            witness.saw(slots, np.zeros((len(slots), 2), np.int64), [])
        parts.append(witness.cut())
    assert sum(part.samples for part in parts) == STEPS * global_batch
    return Row(step=state.step, samples=first + STEPS * global_batch, ranks=tuple(parts), delivered="0" * 16)


def whole_run(run: Path, plan: "RunPlan") -> tuple[int, float]:
    """Bytes of the ledger near the run's end, and seconds that rank 0 then needs to go on with its logs."""
    from raytrain.runlog import LEDGER, METRICS, RunLog

    lengths, late = plan.lengths, run.with_name(f"{run.name}-late")
    late.mkdir()
    for name, every in ((LEDGER, lengths.checkpoint_every), (METRICS, 1)):
        row = json.loads((run / name).read_text())
        with (late / name).open("w") as file:
            file.writelines(
                json.dumps(row | {"step": step}) + "\n" for step in range(every, lengths.steps, every)
            )
    ledger_bytes = (late / LEDGER).stat().st_size
    log = RunLog(late)
    began = time.perf_counter()
    log.start(lengths.steps - lengths.checkpoint_every)
    seconds = time.perf_counter() - began
    log.close()
    return ledger_bytes, seconds


def looked_up(run: Path) -> float:
    """Seconds to find and verify the newest of CHECKPOINTS checkpoints."""
    from data_shards.store import open_store
    from raytrain.manifest import newest

    began = time.perf_counter()
    found, _ = newest(open_store(str(run)))
    seconds = time.perf_counter() - began
    assert found is not None
    assert found.manifest.step == STEPS * CHECKPOINTS
    return seconds


def page(result: dict[str, Any]) -> str:
    """The table by workers, and what is the same for all."""
    medians, settings = result["medians"], result["settings"]
    files = medians["files"]
    starts = [
        [
            workers, tell(told["plan_s"]), tell(told["process_mib"], 0), f"{told['plan_bytes']['median']:,.0f}",
            tell(told["worker_start_s"]), tell(told["worker_process_mib"], 0),
            f"{files[workers]['resume_logs_seconds']:.2f}",
        ]
        for workers, told in medians["starts"].items()
    ]  # fmt: skip
    writes = [
        [
            workers, f"{told['manifest_bytes']:,.0f}", f"{told['ledger_row_bytes']:,.0f}",
            f"{told['ledger_row_seconds'] * 1000:.1f}", f"{told['ledger_run_bytes'] / 1e6:.1f}",
        ]
        for workers, told in files.items()
    ]  # fmt: skip
    started = [
        "workers",
        "to plan, s",
        "its process, MiB",
        "plan.json, bytes",
        "a worker's first sample number, s",
    ]
    started += ["its process, MiB", "rank 0's logs, s"]
    written = [
        "workers",
        "a checkpoint's manifest, bytes",
        "its row of the ledger, bytes",
        "to write the row, ms",
    ]
    written += ["ledger of the whole run, MB"]
    last = files[max(files, key=int)]
    found = tell({key: 1000 * seconds for key, seconds in medians["lookup"].items()}, 1)
    return f"""## 1 to 1,024 workers: plans, resumes and what a run writes

{table(started, starts)}

{table(written, writes)}

The same for all of them: {last["metrics_row_bytes"]:,.0f} bytes of metrics per step; per checkpoint, beside weights
and moments, {last["card_bytes"]:,.0f} bytes of card (recipe and {CLASSES:,} classes), {last["state_bytes"]:,.0f} of
state and {last["event_bytes"]:,.0f} of events. The newest of {settings["checkpoints"]} checkpoints of a run is found
and verified in {found} ms, where its tensors are tiny: what is verified is read.
The data's own manifest has {medians["data_manifest_bytes"] / 1e6:.1f} MB.

How: {SHARDS:,} shards of {PER_SHARD:,} samples that are only their manifest, and {settings["recipe"]} on fleets of
eight GPUs a node. Plans and workers are fresh processes, {settings["repeats"]} rounds after one unmeasured, median
(lowest to highest). A plan's seconds are those after imports, with the manifest read; memory is a process' peak. A
worker reads the manifest and finds the samples of its rank, the middle one, in a batch of the fourth epoch. Rank 0 also
drops from its logs what was done after the checkpoint, here the last one of the run. A row of the ledger covers
{settings["steps"]} steps in mid-epoch, of all ranks; there is one for each checkpoint.

Not shown: the ranks' parts of the ledger on their way to rank 0; a run in S3, whose logs are sent whole before each
checkpoint, and whose checkpoints are found by a LIST per 1,000 files."""
